{{- define "sapi-relay.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "sapi-relay.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sapi-relay.labels" -}}
{{ include "sapi-relay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "sapi-relay.serviceAccount" -}}
{{- $own := .Values.serviceAccount.create | ternary (include "sapi-relay.fullname" .) "default" -}}
{{- default $own .Values.serviceAccount.name -}}
{{- end }}

{{/* Configured, and not taken away with null. */}}
{{- define "sapi-relay.secrets" -}}
{{- range $key, $ref := .Values.secrets }}
{{- if $ref }}
{{ $key }}: {{ toJson $ref }}
{{- end }}
{{- end }}
{{- end }}

{{/* Whole numbers as such: to Helm every number of a value file is a float, and would be written as 5000.0. */}}
{{- define "sapi-relay.integers" -}}
{{- range $key, $value := . }}
{{- if kindIs "map" $value }}
{{- include "sapi-relay.integers" $value }}
{{- else if and (kindIs "float64" $value) (eq $value (floor $value)) }}
{{- $_ := set $ $key (int64 $value) }}
{{- end }}
{{- end }}
{{- end }}
