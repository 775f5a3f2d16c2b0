// The one script: talks to the authenticator, and says when something has changed.
// Everything else is plain forms.
'use strict';

const decode = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
const encode = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
const keys = (text) =>
  (text || '').split(' ').filter(Boolean).map((id) => ({ type: 'public-key', id: decode(id) }));

async function create(form, asked) {
  const made = await navigator.credentials.create({ publicKey: {
    challenge: decode(asked.challenge),
    rp: { id: asked.site, name: 'Postern' },
    user: { id: decode(asked.handle), name: asked.person, displayName: asked.person },
    pubKeyCredParams: [-8, -7, -257].map((alg) => ({ type: 'public-key', alg })),
    authenticatorSelection: {
      residentKey: 'required', requireResidentKey: true, userVerification: 'required',
    },
    excludeCredentials: keys(asked.known), attestation: 'none', timeout: 300000,
  } });
  form.elements['client-data'].value = encode(made.response.clientDataJSON);
  form.elements['attestation'].value = encode(made.response.attestationObject);
}

async function get(form, asked) {
  const made = await navigator.credentials.get({ publicKey: {
    challenge: decode(asked.challenge), rpId: asked.site, userVerification: 'required',
    allowCredentials: keys(asked.known), timeout: 300000,
  } });
  form.elements['credential'].value = encode(made.rawId);
  form.elements['client-data'].value = encode(made.response.clientDataJSON);
  form.elements['authenticator-data'].value = encode(made.response.authenticatorData);
  form.elements['signature'].value = encode(made.response.signature);
  form.elements['user-handle'].value =
    made.response.userHandle ? encode(made.response.userHandle) : '';
}

// What was pressed is part of a form only while it is submitted by the person.
function pressed(form, button) {
  if (!button || !button.name) return;
  const field = document.createElement('input');
  field.type = 'hidden';
  field.name = button.name;
  field.value = button.value;
  form.append(field);
}

for (const form of document.querySelectorAll('form[data-passkey]')) {
  form.addEventListener('submit', async (event) => {
    const button = event.submitter;
    if (button && button.dataset.plain !== undefined) return;
    event.preventDefault();
    if (form.dataset.busy) return;
    form.dataset.busy = 'yes';
    const trouble = form.querySelector('.trouble');
    const asked = form.querySelector('[data-challenge]').dataset;
    try {
      await (form.dataset.passkey === 'create' ? create : get)(form, asked);
      pressed(form, button);
      form.submit();
    } catch (error) {
      trouble.textContent = error.name === 'InvalidStateError'
        ? 'This authenticator already has a passkey for this site.'
        : 'No passkey was used. Try again.';
      trouble.hidden = false;
      delete form.dataset.busy;
    }
  });
}

// The code of a registration link never leaves the browser but in the form.
const code = document.querySelector('form[data-code]');
if (code && location.hash.length > 1) {
  code.elements['code'].value = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
}

// Live updates: a short question now and then, and a sentence where something has changed.
const live = document.querySelector('[data-live]');
if (live) {
  const state = live.dataset.live;
  const look = async () => {
    if (document.visibilityState !== 'visible') return;
    try {
      const answer = await fetch(live.dataset.from, { headers: { accept: 'application/json' } });
      if (answer.status === 401) location.reload();
      if (!answer.ok) return;
      if ((await answer.json()).state === state) return;
      clearInterval(timer);
      // Marked, so that it does not count as somebody who looks.
      if (live.dataset.reload !== undefined) location.replace(`${location.pathname}?live`);
      else live.hidden = false;
    } catch { /* away for a moment; the next question comes soon */ }
  };
  const timer = setInterval(look, Number(live.dataset.every));
}
