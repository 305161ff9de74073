{{- define "memgraph-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* Of all objects: the release's name, and the chart's unless the release's has it. 52 characters leave room for suffixes. */}}
{{- define "memgraph-operator.fullname" -}}
{{- $name := include "memgraph-operator.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "memgraph-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "memgraph-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "memgraph-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What finds the operator's pods. It cannot be changed later, so nothing is in it that an upgrade could change. */}}
{{- define "memgraph-operator.selector" -}}
app.kubernetes.io/name: {{ include "memgraph-operator.name" . | quote }}
{{- end -}}

{{- define "memgraph-operator.labels" -}}
{{ include "memgraph-operator.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/*
Labels and annotations of an object of `root`: those of the chart, then `labels` and `annotations`, which are this object's own, then
the common ones. Of two with the same key the first one counts.
*/}}
{{- define "memgraph-operator.marks" -}}
labels:
  {{- $own := include "memgraph-operator.labels" .root | fromYaml }}
  {{- merge dict $own (default dict .labels) (default dict .root.Values.commonLabels) | toYaml | nindent 2 }}
{{- with merge dict (default dict .annotations) (default dict .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What finds the pod of `helm test`, and no other one. */}}
{{- define "memgraph-operator.test" -}}
app.kubernetes.io/component: test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}
