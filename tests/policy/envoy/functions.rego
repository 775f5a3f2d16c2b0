package envoy.authz

import rego.v1

default allow := false

allow if level(needed(input.attributes.request.http.method)) <= level(held)

held := object.get(data.held, input.attributes.request.http.headers["x-user"], "none")

needed(method) := "read" if method in {"GET", "HEAD"}

needed(method) := "write" if method in {"POST", "PUT", "PATCH"}

needed("DELETE") := "admin"

level("none") := 0

level("read") := 1

level("write") := 2

level("admin") := 3
