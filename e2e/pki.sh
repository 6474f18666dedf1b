# shellcheck shell=bash
# The certificates, keys and tokens of a test's Kubernetes. Sourced, never run.
#
# P-256 throughout: a key takes a millisecond to make, where RSA takes a third of a second. A proper CA with leaves, rather than
# one self-signed certificate, because rustls refuses a CA's certificate as a server's own.

# new_ca DIR: DIR/ca.crt and DIR/ca.key.
new_ca() {
	mkdir -p "$1"
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=regatta-e2e \
		-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$1/ca.key" -out "$1/ca.crt" 2>/dev/null
}

# new_cert DIR NAME SUBJECT [ALTERNATIVE-NAMES]: DIR/NAME.crt and DIR/NAME.key, signed by DIR's CA, good for both ends of TLS.
new_cert() {
	local extensions="basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth,clientAuth"
	[ -z "${4:-}" ] || extensions+=$'\n'"subjectAltName=$4"
	# A serial of its own for each: two with the same issuer and serial are refused by some clients.
	openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$3" -keyout "$1/$2.key" 2>/dev/null |
		openssl x509 -req -days 3650 -CA "$1/ca.crt" -CAkey "$1/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
			-extfile <(printf '%s\n' "$extensions") -out "$1/$2.crt" 2>/dev/null
}

# new_signing_key FILE: what service account tokens are signed with. Kubernetes reads the old PEM form of an EC key only.
new_signing_key() { openssl ecparam -genkey -name prime256v1 -noout -out "$1"; }

new_token() { openssl rand -hex 16; }

# write_kubeconfig FILE SERVER CA-FILE TOKEN: whole in itself, so that it can be copied anywhere.
write_kubeconfig() {
	(
		umask 077
		cat >"$1" <<-YAML
			apiVersion: v1
			kind: Config
			current-context: default
			contexts: [{name: default, context: {cluster: default, user: default}}]
			clusters: [{name: default, cluster: {server: "$2", certificate-authority-data: $(base64 -w0 "$3")}}]
			users: [{name: default, user: {token: $4}}]
		YAML
	)
}
