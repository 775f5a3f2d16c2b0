package system.log

mask contains "/input/postern/identity/user"

mask contains {
	"op": "upsert",
	"path": "/input/postern/identity/token_id",
	"value": "**REDACTED**",
} if {
	input.input.postern.identity.token_id
}
