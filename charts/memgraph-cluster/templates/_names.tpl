{{- define "memgraph-cluster.name" -}}
{{- $name := default .Release.Name .Values.fullnameOverride -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" $name) -}}
{{- fail (printf "%q cannot be the name of a MemgraphCluster: at most 40 characters of a-z, 0-9 and '-', beginning with a letter; set fullnameOverride" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}
