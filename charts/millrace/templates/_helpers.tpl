{{/* millrace.values gives each value that is missing its default, for all templates: each of them includes it first.
`helm upgrade --reuse-values` renders with the values of the release that runs and drops the defaults of this chart, so
blocks that are new here are missing. files/values.yaml is a copy of values.yaml: templates cannot read that one. */}}
{{- define "millrace.values" -}}
{{- include "millrace.fill" (dict "values" .Values "defaults" (.Files.Get "files/values.yaml" | fromYaml)) -}}
{{- end -}}

{{/* Lists, and what is in resources and labels, are left as they are: there a missing value is one that its user set to
null. merge would be shorter, but it takes false and "" for missing. */}}
{{- define "millrace.fill" -}}
{{- $values := .values -}}
{{- range $name, $default := .defaults -}}
{{- if not (hasKey $values $name) -}}
{{- if not (or (kindIs "slice" $default) (eq $name "resources")) -}}
{{- $_ := set $values $name $default -}}
{{- end -}}
{{- else if and (kindIs "map" $default) (kindIs "map" (get $values $name)) (not (has $name (list "resources" "labels"))) -}}
{{- include "millrace.fill" (dict "values" (get $values $name) "defaults" $default) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "millrace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What cluster-wide objects are called: two releases in one cluster must not fight over them. */}}
{{- define "millrace.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "millrace.fullname" .) -}}
{{- end -}}

{{- define "millrace.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "millrace.labels" -}}
{{ include "millrace.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: millrace
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "millrace.repository" -}}
{{- with .Values.image.registry }}{{ . }}/{{ end }}{{ .Values.image.repository }}
{{- end -}}

{{- define "millrace.image" -}}
{{- $repository := include "millrace.repository" . -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "millrace.operator.serviceAccount" -}}
{{- default (include "millrace.fullname" .) .Values.operator.serviceAccount.name -}}
{{- end -}}

{{- define "millrace.externalMetrics" -}}
{{- printf "%s-external-metrics" (include "millrace.fullname" .) -}}
{{- end -}}

{{- define "millrace.webhook" -}}
{{- printf "%s-webhook" (include "millrace.fullname" .) -}}
{{- end -}}

{{- define "millrace.console" -}}
{{- printf "%s-console" (include "millrace.fullname" .) -}}
{{- end -}}

{{/* What the objects of a collector are called, for a dict of root and collector, its name among .Values.collectors. */}}
{{- define "millrace.collector.name" -}}
{{- printf "%s-collector-%s" (include "millrace.fullname" .root) .collector -}}
{{- end -}}

{{/* A Service has a name of 63 letters at most. */}}
{{- define "millrace.collector.service" -}}
{{- $suffix := printf "-collector-%s-metrics" .collector -}}
{{- printf "%s%s" (include "millrace.fullname" .root | trunc (int (sub 63 (len $suffix))) | trimSuffix "-") $suffix -}}
{{- end -}}

{{/* What tells the pods of a collector from all others of the release: each selector has both. */}}
{{- define "millrace.collector.labels" -}}
app.kubernetes.io/component: collector
millrace.dev/collector: {{ . }}
{{- end -}}

{{/* Both security contexts satisfy the Pod Security Standard "restricted"; no fixed user, so that
OpenShift can choose one. */}}
{{- define "millrace.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "millrace.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* How to authenticate with NATS, for a dict of root and secret, the name of the user's Secret: the
flags, and the volume with their files, which the kubelet keeps up to date. */}}
{{- define "millrace.nats.args" -}}
{{- $nats := .root.Values.nats -}}
{{- if .secret }}
{{- if eq $nats.credentialsSecret.type "Password" }}
- --nats-user=/etc/millrace/nats/username
- --nats-password=/etc/millrace/nats/password
{{- else if eq $nats.credentialsSecret.type "NKey" }}
- --nats-nkey=/etc/millrace/nats/user.nk
{{- else }}
- --nats-credentials=/etc/millrace/nats/user.creds
{{- end }}
{{- end }}
{{- with $nats.jetStreamDomain }}
- --nats-jetstream-domain={{ . }}
{{- end }}
{{- if $nats.tls.handshakeFirst }}
- --nats-tls-handshake-first
{{- end }}
{{- if $nats.tls.ca.name }}
- --nats-ca=/etc/millrace/nats/ca.crt
{{- end }}
{{- if $nats.tls.clientSecret.name }}
- --nats-cert=/etc/millrace/nats/tls.crt
- --nats-key=/etc/millrace/nats/tls.key
{{- end }}
{{- end -}}

{{- define "millrace.nats.sources" -}}
{{- $nats := .root.Values.nats -}}
{{- with .secret }}
- secret:
    name: {{ . }}
    items:
    {{- if eq $nats.credentialsSecret.type "Password" }}
    - {key: username, path: username}
    - {key: password, path: password}
    {{- else if eq $nats.credentialsSecret.type "NKey" }}
    - {key: {{ default "user.nk" $nats.credentialsSecret.key }}, path: user.nk}
    {{- else }}
    - {key: {{ default "user.creds" $nats.credentialsSecret.key }}, path: user.creds}
    {{- end }}
{{- end }}
{{- with $nats.tls.ca }}
{{- if .name }}
- {{ ternary "configMap" "secret" (eq .kind "ConfigMap") }}:
    name: {{ .name }}
    items:
    - {key: {{ .key }}, path: ca.crt}
{{- end }}
{{- end }}
{{- with $nats.tls.clientSecret.name }}
- secret:
    name: {{ . }}
    items:
    - {key: tls.crt, path: tls.crt}
    - {key: tls.key, path: tls.key}
{{- end }}
{{- end -}}
