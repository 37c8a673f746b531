// The official Node SDKs as the other side of Hookgate's tests.
//
// Nothing here knows how a provider signs: every check and every signature is
// the SDK's own. What the SDKs leave to their caller (which header holds what,
// HTTP itself) is all that is written out.
//
//     node sdk.mjs backend         HTTP server that verifies POST /{provider}; its verdicts say
//                                  how many requests it has `seen`
//     node sdk.mjs sign PROVIDER   one JSON document in, one out
//     node sdk.mjs sign-many       JSON lines in, JSON lines out, in order
//     node sdk.mjs verify-many     JSON lines in, JSON lines out, in order
//
// Where a provider signs more than the body, the question also holds `url` (as the provider has
// it; backend: SDK_URL_{PROVIDER}, and the query of the request) and `method` (default: POST). A
// signer that changes the URL or the body gives it back, as `url` and `body_base64`.
//
// `sdk.py` beside this folder speaks the same protocol for the Python SDKs.

import { randomUUID, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";

import { Webhooks } from "@octokit/webhooks";
import { sign as signForGithub } from "@octokit/webhooks-methods";
import "@shopify/shopify-api/adapters/node";
import { ApiVersion, WEBHOOK_HEADER_NAMES, shopifyApi } from "@shopify/shopify-api";
import { createSHA256HMAC } from "@shopify/shopify-api/runtime";
import * as standardwebhooks from "standardwebhooks";
import Stripe from "stripe";
import * as svix from "svix";

import { MORE_SDKS } from "./more_sdks.mjs";

// @shopify/shopify-api wants Node 20 for this global alone; Debian 12 and Ubuntu 24.04 have Node 18.
globalThis.crypto ??= webcrypto;

const github = {
  package: "@octokit/webhooks",

  async sign({ secret, text, id, type }) {
    return [
      ["X-GitHub-Event", type ?? "push"],
      ["X-GitHub-Delivery", id ?? randomUUID()],
      ["X-Hub-Signature-256", await signForGithub(secret, text)],
    ];
  },

  async verify({ secret, headers, body }) {
    const webhooks = new Webhooks({ secret });
    if (!(await webhooks.verify(body.toString(), headers["x-hub-signature-256"]))) {
      throw new Error("Webhooks.verify answered false");
    }
    return headers["x-github-delivery"];
  },
};

// Shopify has two header families; the SDK finds out by itself which one it was sent.
const shopifyFamily = (family) => ({
  package: "@shopify/shopify-api",

  async sign({ secret, text, now, id, type }) {
    const names = WEBHOOK_HEADER_NAMES[family];
    return [
      [names.topic, type ?? "orders/create"],
      // The SDK signs no webhooks; this is the HMAC helper that its own check calls.
      [names.hmac, await createSHA256HMAC(secret, text)],
      [names.domain, "hookgate-test.myshopify.com"],
      [names.apiVersion, "2026-01"],
      [names.webhookId, randomUUID()],
      [names.eventId, id ?? randomUUID()],
      [names.triggeredAt, new Date(now * 1000).toISOString()],
    ];
  },

  async verify({ secret, headers, body, rawRequest, rawResponse }) {
    const shopify = shopifyApi({
      apiKey: "hookgate-test",
      apiSecretKey: secret,
      apiVersion: ApiVersion.Unstable,
      hostName: "localhost",
      isEmbeddedApp: false,
      logger: { log: () => {} }, // Its default writes to stdout, which is the protocol here.
    });
    const verdict = await shopify.webhooks.validate({
      rawBody: body.toString(),
      rawRequest: rawRequest ?? { method: "POST", url: "/", headers },
      rawResponse,
    });
    if (!verdict.valid) {
      throw new Error([verdict.reason, ...(verdict.missingHeaders ?? [])].join(" "));
    }
    return verdict.eventId ?? verdict.webhookId;
  },
});

const stripe = {
  package: "stripe",
  client: new Stripe("sk_test_never_used"),

  sign({ secret, text, now }) {
    const options = { payload: text, secret, timestamp: now };
    return [["Stripe-Signature", stripe.client.webhooks.generateTestHeaderString(options)]];
  },

  verify({ secret, headers, body }) {
    return stripe.client.webhooks.constructEvent(body, headers["stripe-signature"], secret).id;
  },
};

const standardWebhooks = (name, prefix, Webhook) => ({
  package: name,

  sign({ secret, text, now, id }) {
    const messageId = id ?? `msg_${randomUUID().replaceAll("-", "")}`;
    const signature = new Webhook(secret).sign(messageId, new Date(now * 1000), text);
    return [
      [`${prefix}-id`, messageId],
      [`${prefix}-timestamp`, String(now)],
      [`${prefix}-signature`, signature],
    ];
  },

  verify({ secret, headers, body }) {
    // The signature is what is asked about, so a body need not be JSON (svix has no such option).
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return headers[`${prefix}-id`] ?? headers["webhook-id"];
  },
});

const SDKS = new Map([
  ["github", github],
  ["shopify", shopifyFamily("webhooks")],
  ["shopify_events", shopifyFamily("events")],
  ["standardwebhooks", standardWebhooks("standardwebhooks", "webhook", standardwebhooks.Webhook)],
  ["stripe", stripe],
  ["svix", standardWebhooks("svix", "svix", svix.Webhook)],
  ...MORE_SDKS,
]);

const PACKAGES = JSON.parse(readFileSync(new URL("package.json", import.meta.url)));

function findSdk(provider) {
  const sdk = SDKS.get(provider);
  if (!sdk) throw new Error(`no SDK here for "${provider}"; known: ${[...SDKS.keys()].join(", ")}`);
  return sdk;
}

async function sign(provider, { secret, body_base64, now, id, type, url, method = "POST" }) {
  const sdk = findSdk(provider);
  const seconds = Math.floor(now ?? Date.now() / 1000);
  const text = decode(body_base64).toString();
  const request = { secret, text, now: seconds, id, type, url, method };
  const headers = await atTime(seconds, () => sdk.sign(request));
  const body = request.body === undefined ? {} : { body_base64: encode(request.body) };
  return { headers, url: request.url, ...body };
}

/** Asks the SDK; whatever it throws is its refusal. */
async function verify(provider, request, now) {
  try {
    const sdk = findSdk(provider);
    const id = await atTime(now, () => sdk.verify(request));
    const version = PACKAGES.dependencies[sdk.package];
    return { verified: true, sdk: `${sdk.package} ${version}`, id: id ?? null };
  } catch (error) {
    return { verified: false, error: `${error.name}: ${error.message}` };
  }
}

/** Shows the SDKs another time, for recorded vectors. Not for use side by side. */
async function atTime(now, work) {
  if (now === undefined || now === null) return work();
  const real = globalThis.Date;
  globalThis.Date = class extends real {
    constructor(...parts) {
      super(...(parts.length ? parts : [now * 1000]));
    }

    static now() {
      return now * 1000;
    }
  };
  try {
    return await work();
  } finally {
    globalThis.Date = real;
  }
}

/** Lower-cased names; a repeated name as one list, as RFC 9110 5.2 combines it. */
function fold(headers) {
  const folded = {};
  for (const [name, value] of headers) {
    const key = name.toLowerCase();
    folded[key] = key in folded ? `${folded[key]}, ${value}` : value;
  }
  return folded;
}

function decode(base64) {
  if (typeof base64 !== "string") throw new TypeError("body_base64 is missing");
  return Buffer.from(base64, "base64");
}

function encode(text) {
  return Buffer.from(text).toString("base64");
}

function pairs(flat) {
  const result = [];
  for (let i = 0; i < flat.length; i += 2) result.push([flat[i], flat[i + 1]]);
  return result;
}

async function receive(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const [status, document] = await judge(request, response, Buffer.concat(chunks));
  const body = JSON.stringify(document);
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

let requestsSeen = 0;

async function judge(request, response, body) {
  const seen = ++requestsSeen;
  const [path, query] = request.url.split("?");
  const provider = path.split("/")[1];
  const refuse = (status, error) => [status, { verified: false, error }];
  if (request.method !== "POST") return refuse(405, "only POST");
  if (!SDKS.has(provider)) return refuse(404, `no SDK here for "${provider}"`);
  const variable = `SDK_SECRET_${provider.toUpperCase()}`;
  const secret = process.env[variable];
  if (secret === undefined) return refuse(500, `${variable} is not set`);
  const url = process.env[`SDK_URL_${provider.toUpperCase()}`];
  const headers = fold(pairs(request.rawHeaders));
  const verdict = await verify(provider, {
    secret,
    headers,
    body,
    url: url && query ? `${url}?${query}` : url,
    method: request.method,
    rawRequest: request,
    rawResponse: response,
  });
  return [verdict.verified ? 200 : 400, { ...verdict, seen }];
}

function backend() {
  const server = createServer((request, response) => {
    // A body that breaks off ends its own connection, not the backend.
    receive(request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1", () => emit({ port: server.address().port }));
  // A test that dies closes the pipe, and so takes its backend along.
  process.stdin.on("close", () => process.exit(0)).resume();
}

async function eachLine(work) {
  for await (const line of createInterface({ input: process.stdin })) {
    if (line.trim()) emit(await work(line));
  }
}

async function signLine(line) {
  try {
    const document = JSON.parse(line);
    return await sign(document.provider, document);
  } catch (error) {
    return { error: `${error.name}: ${error.message}` };
  }
}

async function verifyLine(line) {
  try {
    const { provider, secret, headers, body_base64, now, url, method = "POST" } = JSON.parse(line);
    const body = decode(body_base64);
    return await verify(provider, { secret, headers: fold(headers), body, url, method }, now);
  } catch (error) {
    return { verified: false, error: `bad line: ${error.name}: ${error.message}` };
  }
}

function emit(document) {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

const [command, provider] = process.argv.slice(2);
if (command === "backend") {
  backend();
} else if (command === "sign" && SDKS.has(provider)) {
  emit(await sign(provider, JSON.parse(readFileSync(0))));
} else if (command === "sign-many") {
  await eachLine(signLine);
} else if (command === "verify-many") {
  await eachLine(verifyLine);
} else {
  console.error(`usage: sdk.mjs backend | sign ${[...SDKS.keys()].join("|")} | sign-many | verify-many`);
  process.exit(2);
}
