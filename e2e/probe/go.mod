// What the pods of check-cluster.sh run. Built from here by ../parts.sh; the standard library is all it needs.
module regatta.dev/e2e/probe

go 1.24
