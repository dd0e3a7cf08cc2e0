"use strict";
// The only script of these pages: what a browser does with security keys it offers to scripts alone.

(() => {
  const bytes = (text) =>
    Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const sorted = (value) => JSON.stringify(Object.fromEntries(Object.entries(value).sort()));

  const say = (words) => {
    document.getElementById("key-status").textContent = words;
  };

  const fill = (form, fields) => {
    for (const [name, value] of Object.entries(fields)) form.elements.namedItem(name).value = value;
  };

  // Runs a step with the buttons off; what goes wrong is said, and nothing is sent.
  const during = async (form, words, work) => {
    const buttons = [...form.querySelectorAll("button")];
    buttons.forEach((button) => (button.disabled = true));
    say(words);
    try {
      await work();
    } catch (error) {
      say(
        error.name === "NotAllowedError"
          ? "Your security key was not used. Nothing was sent."
          : `That did not work, and nothing was sent: ${error.message}`,
      );
      buttons.forEach((button) => (button.disabled = false));
    }
  };

  // What is signed must be what this page shows: an answer to its call, or an act on its proposal.
  const sign = async (form, submitter) => {
    const reply = await fetch(form.dataset.challenge, { headers: { accept: "application/json" } });
    if (!reply.ok || !(reply.headers.get("content-type") || "").startsWith("application/json")) {
      throw new Error("this can no longer be answered; load the page again");
    }
    const asked = await reply.json();
    const payload = JSON.parse(new TextDecoder().decode(bytes(asked.payload)));
    const about = payload.binding ?? payload.proposal;
    const word = payload.answer ?? payload.act;
    if (sorted(about) !== sorted(JSON.parse(form.dataset.about)) || word !== form.dataset.word) {
      throw new Error("what was to be signed is not the call on this page");
    }
    const challenge = await crypto.subtle.digest("SHA-256", bytes(asked.payload));
    const credential = await navigator.credentials.get({
      publicKey: {
        challenge,
        rpId: asked.rp_id,
        allowCredentials: asked.credential_ids.map((id) => ({ type: "public-key", id: bytes(id) })),
        userVerification: "required",
        timeout: 120000,
      },
    });
    fill(form, {
      payload: asked.payload,
      credential_id: text(credential.rawId),
      authenticator_data: text(credential.response.authenticatorData),
      client_data_json: text(credential.response.clientDataJSON),
      signature: text(credential.response.signature),
    });
    const answer = document.createElement("input");
    answer.type = "hidden";
    answer.name = submitter.name;
    answer.value = submitter.value;
    form.append(answer);
    form.submit();
  };

  const enrol = async (form) => {
    const options = JSON.parse(form.dataset.enrol);
    const credential = await navigator.credentials.create({
      publicKey: {
        rp: options.rp,
        user: { ...options.user, id: bytes(options.user.id) },
        challenge: bytes(options.challenge),
        pubKeyCredParams: options.algorithms.map((alg) => ({ type: "public-key", alg })),
        excludeCredentials: options.exclude.map((id) => ({ type: "public-key", id: bytes(id) })),
        authenticatorSelection: { userVerification: "required", residentKey: "discouraged" },
        attestation: "none",
        timeout: 120000,
      },
    });
    fill(form, {
      authenticator_data: text(credential.response.getAuthenticatorData()),
      client_data_json: text(credential.response.clientDataJSON),
    });
    form.submit();
  };

  for (const form of document.querySelectorAll("form[data-challenge]")) {
    form.addEventListener("submit", (event) => {
      if (event.submitter?.value !== form.dataset.word) return;
      event.preventDefault();
      during(form, "Use your security key to sign this.", () => sign(form, event.submitter));
    });
  }
  for (const form of document.querySelectorAll("form[data-enrol]")) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      during(form, "Use the security key that you want to enrol.", () => enrol(form));
    });
  }
})();
