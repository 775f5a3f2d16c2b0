// Resources against the schemas that Istio and Envoy Gateway publish, as npm's packages
// `@kubernetes-models/…` compile them.
//
// `node validate.mjs FOLDER` reads a JSON list of resources and writes a list as long: null for a good
// one, else what is wrong. The compiled schemas pass over names that they do not know, as an API
// server does when it prunes them; here a name that the kind has nowhere is wrong.

import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";

const packages = join(resolve(process.argv[2]), "node_modules/@kubernetes-models");
const HOMES = {
  "extensions.istio.io/v1alpha1": "istio/extensions.istio.io/v1alpha1",
  "networking.istio.io/v1": "istio/networking.istio.io/v1",
  "networking.istio.io/v1alpha3": "istio/networking.istio.io/v1alpha3",
  "gateway.envoyproxy.io/v1alpha1": "envoy-gateway/gateway.envoyproxy.io/v1alpha1",
};
// Below these anything may stand.
const FREE = new Set(["pluginConfig", "config", "value", "labels", "matchLabels", "selector", "annotations"]);
// Kubernetes' own part of Envoy Gateway's resources.
const FOREIGN = new Set(["metadata", "volumes", "volumeMounts", "env"]);

function names(folder, kind) {
  const files = folder.includes("envoyproxy") ? readdirSync(folder) : [`${kind}.d.ts`];
  const text = files
    .filter((file) => file.endsWith(".d.ts"))
    .map((file) => readFileSync(join(folder, file), "utf8"))
    .join("\n");
  const declared = [...text.matchAll(/^\s*"([A-Za-z0-9]+)"\??:/gm)].map((found) => found[1]);
  return new Set(["apiVersion", "kind", "group", "name", "sectionName", ...declared]);
}

function unknown(value, known, path) {
  if (Array.isArray(value)) {
    return value.map((item, index) => unknown(item, known, `${path}[${index}]`)).find(Boolean);
  }
  if (value === null || typeof value !== "object") return undefined;
  for (const [name, below] of Object.entries(value)) {
    if (FOREIGN.has(name)) continue;
    if (!known.has(name)) return `${path}.${name}: not a name of this kind`;
    const found = FREE.has(name) ? undefined : unknown(below, known, `${path}.${name}`);
    if (found) return found;
  }
  return undefined;
}

async function judge(resource) {
  const home = HOMES[resource.apiVersion];
  if (!home) return `no schema for ${resource.apiVersion}`;
  const folder = join(packages, home);
  const kinds = await import(join(folder, "index.js"));
  const Kind = kinds[resource.kind];
  if (!Kind) return `no schema for ${resource.kind}`;
  try {
    new Kind(resource).validate();
  } catch (error) {
    return error.message;
  }
  return unknown(resource, names(folder, resource.kind), resource.kind) ?? null;
}

const resources = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(resources.map(judge))));
