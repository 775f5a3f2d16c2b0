{{- define "postern.labels" -}}
app.kubernetes.io/name: postern
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "postern.image" -}}
{{ .repository }}@{{ .digest }}
{{- end }}

{{- /* Of a pod. */}}
{{- define "postern.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* Of a container. */}}
{{- define "postern.container" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "postern.spread" -}}
topologySpreadConstraints:
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "postern.labels" . | nindent 6 }}
{{- end }}

{{- /* DNS of the cluster. */}}
{{- define "postern.dns" -}}
- to:
  - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
  ports:
  - {protocol: UDP, port: 53}
  - {protocol: TCP, port: 53}
{{- end }}

{{- define "postern.keysHost" -}}
postern-keys.{{ .Release.Namespace }}.svc.cluster.local
{{- end }}

{{- /* What gate, credential and audit say of the key service. */}}
{{- define "postern.keyService" -}}
tenant: {{ .Values.tenant }}
key_service:
  cluster: key_service
  authority: {{ include "postern.keysHost" . }}
  gateway_id: {{ .Values.gateway.id | quote }}
  evidence: {{ .Values.evidence.gateway | toJson }}
{{- with .Values.evidence.simulatedKey }}
# Development only: accepts evidence that no hardware stands behind.
danger_allow_simulated: {key: {{ . }}}
{{- end }}
{{- end }}

{{- define "postern.upstreams" -}}
upstreams:
{{- range .Values.gateway.upstreams }}
  {{ .name }}: {authority: {{ .host }}, region: {{ .region }}, tls_name: {{ .host }}}
{{- end }}
bindings:
{{- range .Values.gateway.bindings }}
- {{ merge (dict "tenant" $.Values.tenant) . | toJson }}
{{- end }}
{{- end }}
