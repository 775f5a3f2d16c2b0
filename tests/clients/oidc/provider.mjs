// An authorization server on 127.0.0.1 for the live checks: npm's oidc-provider, with clients
// that act for themselves. `node provider.mjs FOLDER` takes the package from FOLDER.
//
// Says `ready PORT` on its output. Each line on its input is a command, which it repeats when
// it is done: `rotate` signs with new keys from then on and publishes no others, `asked` adds
// how often the introspection endpoint was asked since the last time.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder] = process.argv.slice(2);
const library = join(folder, 'node_modules/oidc-provider/lib/index.js');
const { Provider } = await import(pathToFileURL(library));

const AUDIENCE = 'https://gateway.test';
const SECRETS = { agent: 'agent-s3cret/7Gq+Zk4~Qw', gateway: process.env.GATEWAY_SECRET };

function keys(generation) {
  const made = [
    ['RS256', 'rsa', { modulusLength: 2048 }],
    ['PS256', 'rsa', { modulusLength: 2048 }],
    ['ES256', 'ec', { namedCurve: 'P-256' }],
    ['ES384', 'ec', { namedCurve: 'P-384' }],
    ['EdDSA', 'ed25519', {}],
  ];
  return made.map(([alg, type, options]) => {
    const { privateKey } = generateKeyPairSync(type, options);
    return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}` };
  });
}

/// What a client asks a token for: the last part of the resource says the form, or the algorithm.
function resource(_, indicator) {
  const form = indicator.split('/').pop();
  return {
    audience: AUDIENCE,
    scope: 'documents:read documents:write',
    accessTokenTTL: 60,
    accessTokenFormat: form === 'opaque' ? 'opaque' : 'jwt',
    ...(form !== 'opaque' && { jwt: { sign: { alg: form } } }),
  };
}

function client(client_id, grants) {
  return {
    client_id,
    client_secret: SECRETS[client_id],
    grant_types: grants,
    response_types: [],
    redirect_uris: [],
    token_endpoint_auth_method: 'client_secret_basic',
  };
}

function provider(issuer, generation) {
  const made = new Provider(issuer, {
    clients: [client('agent', ['client_credentials']), client('gateway', [])],
    jwks: { keys: keys(generation) },
    scopes: ['documents:read', 'documents:write'],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_, asking) => asking.clientId === 'gateway' },
      revocation: { enabled: true },
      resourceIndicators: { enabled: true, getResourceServerInfo: resource },
    },
    // The default output is for people.
    renderError: (ctx, out) => { ctx.body = out; },
  });
  return made.callback();
}

let serve;
let asked = 0;
const server = createServer((request, response) => {
  asked += request.url === '/token/introspection' ? 1 : 0;
  serve(request, response);
});
// Longer than gateways keep a connection, so that no question meets one that is being closed.
server.keepAliveTimeout = 60_000;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const issuer = `http://127.0.0.1:${port}`;
  let generation = 0;
  serve = provider(issuer, generation);
  console.log(`ready ${port}`);
  createInterface({ input: process.stdin })
    .on('line', (command) => {
      if (command === 'rotate') {
        generation += 1;
        serve = provider(issuer, generation);
        console.log('rotate');
      } else {
        console.log(`${command} ${asked}`);
        asked = 0;
      }
    })
    .on('close', () => process.exit(0));
});
