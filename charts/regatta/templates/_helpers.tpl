{{- define "regatta.fullname" -}}
{{- if contains "regatta" .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-regatta" .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* A name for what belongs to the cluster, so that two releases in two namespaces never share one. */ -}}
{{- define "regatta.clusterScopedName" -}}
{{- if eq (include "regatta.fullname" .) .Release.Namespace -}}
{{- include "regatta.fullname" . -}}
{{- else -}}
{{- printf "%s:%s" .Release.Namespace (include "regatta.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "regatta.selectorLabels" -}}
app.kubernetes.io/name: regatta
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "regatta.labels" -}}
{{ include "regatta.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: regatta
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "regatta.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (.tag | default $.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
{{- end -}}
