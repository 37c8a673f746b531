// More of the providers' official SDKs; `sdk.mjs` says what they are asked and how.
//
// Each is imported when it is asked first. The SDKs that verify and cannot sign compare with an
// HMAC of their own: that is what they would have signed.

import crypto, { createPrivateKey, webcrypto } from "node:crypto";
import https from "node:https";
import { syncBuiltinESMExports } from "node:module";

import { Webhook } from "standardwebhooks";

/** The HMAC that an SDK without a signer computes while it refuses a signature. Not for use side by side. */
async function hmacOf(encoding, refuse) {
  const { createHmac } = crypto;
  const { sign } = webcrypto.subtle;
  const computed = [];
  crypto.createHmac = (...key) => {
    const hmac = createHmac(...key);
    const { digest } = hmac;
    hmac.digest = (as) => {
      const bytes = digest.call(hmac);
      computed.push(bytes);
      return as ? bytes.toString(as) : bytes;
    };
    return hmac;
  };
  syncBuiltinESMExports();
  webcrypto.subtle.sign = async (...asked) => {
    const bytes = await sign.apply(webcrypto.subtle, asked);
    computed.push(Buffer.from(bytes));
    return bytes;
  };
  let refusal = "it accepted a placeholder";
  try {
    await refuse();
  } catch (error) {
    refusal = error;
  } finally {
    crypto.createHmac = createHmac;
    syncBuiltinESMExports();
    delete webcrypto.subtle.sign;
  }
  if (computed.length !== 1) throw new Error(`${computed.length} HMACs were computed: ${refusal}`);
  return computed[0].toString(encoding);
}

function insist(genuine, what) {
  if (!genuine) throw new Error(`${what} answered false`);
}

/** The event's id in a body that the SDK has accepted, and does not read itself. */
function idIn(body, name = "id") {
  try {
    return JSON.parse(body)[name];
  } catch {
    return null;
  }
}

/** The id of a key and its secret, of a secret that is written `id:secret`. */
function keyOf(secret) {
  const at = secret.indexOf(":");
  return at < 0 ? ["hookgate_key", secret] : [secret.slice(0, at), secret.slice(at + 1)];
}

const linear = {
  package: "@linear/sdk",

  // The time is `webhookTimestamp` of the body, which the caller writes.
  async sign({ secret, text, id, type }) {
    const client = await linear.client(secret);
    return [
      ["Linear-Delivery", id ?? crypto.randomUUID()],
      ["Linear-Event", type ?? "Issue"],
      ["Linear-Signature", await hmacOf("hex", () => client.verify(Buffer.from(text), "?"))],
    ];
  },

  async verify({ secret, headers, body }) {
    const client = await linear.client(secret);
    insist(client.verify(body, headers["linear-signature"]), "LinearWebhookClient.verify");
    return headers["linear-delivery"];
  },

  async client(secret) {
    const { LinearWebhookClient } = await import("@linear/sdk/webhooks");
    return new LinearWebhookClient(secret);
  },
};

const notion = {
  package: "@notionhq/client",

  async sign({ secret, text }) {
    const { signWebhookPayload } = await import("@notionhq/client");
    const signature = await signWebhookPayload({ body: text, verificationToken: secret });
    return [["X-Notion-Signature", signature]];
  },

  async verify({ secret, headers, body }) {
    const { verifyWebhookSignature } = await import("@notionhq/client");
    const signature = headers["x-notion-signature"];
    const asked = { body, signature, verificationToken: secret };
    insist(await verifyWebhookSignature(asked), "verifyWebhookSignature");
    return idIn(body);
  },
};

const mux = {
  package: "@mux/mux-node",

  async sign({ secret, text, now }) {
    const webhooks = await mux.webhooks(secret);
    const ask = (v1) => webhooks.verifySignature(text, { "mux-signature": `t=${now},v1=${v1}` });
    return [["Mux-Signature", `t=${now},v1=${await hmacOf("hex", () => ask("?"))}`]];
  },

  async verify({ secret, headers, body }) {
    const webhooks = await mux.webhooks(secret);
    const asked = { "mux-signature": headers["mux-signature"] };
    return (await webhooks.unwrap(body.toString(), asked)).id;
  },

  async webhooks(webhookSecret) {
    const { default: Mux } = await import("@mux/mux-node");
    return new Mux({ tokenId: "hookgate", tokenSecret: "hookgate", webhookSecret }).webhooks;
  },
};

const pusher = {
  package: "pusher",

  async sign({ secret, text }) {
    const { token } = (await pusher.client(secret)).config;
    return [
      ["Content-Type", "application/json"], // The SDK reads no other.
      ["X-Pusher-Key", token.key],
      ["X-Pusher-Signature", token.sign(text)],
    ];
  },

  async verify({ secret, headers, body }) {
    const client = await pusher.client(secret);
    const webhook = client.webhook({ headers, rawBody: body.toString() });
    insist(webhook.isValid(), "WebHook.isValid");
  },

  async client(pair) {
    const { default: Pusher } = await import("pusher");
    const [key, secret] = keyOf(pair);
    return new Pusher({ appId: "1", key, secret, cluster: "eu" });
  },
};

const twitch = {
  package: "@twurple/eventsub-http",

  async sign({ secret, text, now, id, type }) {
    const messageId = id ?? crypto.randomUUID();
    const timestamp = new Date(now * 1000).toISOString().replace("Z", "123456Z");
    const refuse = () => twitch.ask(secret, messageId, timestamp, text, "sha256=00");
    return [
      ["Twitch-Eventsub-Message-Id", messageId],
      ["Twitch-Eventsub-Message-Retry", "0"],
      ["Twitch-Eventsub-Message-Timestamp", timestamp],
      ["Twitch-Eventsub-Message-Type", "notification"],
      ["Twitch-Eventsub-Subscription-Type", type ?? "channel.follow"],
      ["Twitch-Eventsub-Message-Signature", `sha256=${await hmacOf("hex", refuse)}`],
    ];
  },

  async verify({ secret, headers, body }) {
    const [id, timestamp, signature] = ["id", "timestamp", "signature"].map(
      (name) => headers[`twitch-eventsub-message-${name}`],
    );
    const genuine = await twitch.ask(secret, id, timestamp, body.toString(), signature);
    insist(genuine, "EventSubHttpBase._verifyData");
    return id;
  },

  // The listeners want a Twitch account to start; this is the check that both of them inherit.
  async ask(secret, ...signed) {
    const { EventSubMiddleware } = await import("@twurple/eventsub-http");
    return EventSubMiddleware.prototype._verifyData.call({ _secret: secret }, ...signed);
  },
};

const contentful = {
  package: "@contentful/node-apps-toolkit",

  async sign({ secret, text, now, type, url, method }) {
    const { signRequest } = await import("@contentful/node-apps-toolkit");
    const headers = { "X-Contentful-Topic": type ?? "ContentManagement.Entry.publish" };
    const request = { method, path: pathOf(url), headers, body: text };
    const context = { crn: "crn:contentful:::content:spaces/hookgate", spaceId: "hookgate" };
    const signed = signRequest(secret, request, now * 1000, context);
    return Object.entries({ ...headers, ...signed });
  },

  async verify({ secret, headers, body, url, method }) {
    const { verifyRequest } = await import("@contentful/node-apps-toolkit");
    const request = { method, path: pathOf(url), headers, body: body.toString() };
    insist(verifyRequest(secret, request), "verifyRequest");
  },
};

/** Path and query as they are written. */
function pathOf(url) {
  return url.replace(/^[a-z]+:\/\/[^/?]*/, "");
}

const livekit = {
  package: "livekit-server-sdk",

  async sign({ secret, text }) {
    const { AccessToken } = await import("livekit-server-sdk");
    const token = new AccessToken(...keyOf(secret), { ttl: "5m" });
    // The SDK signs whatever claims it is given; its receiver computes this one.
    token.sha256 = crypto.createHash("sha256").update(text).digest("base64");
    return [
      ["Content-Type", "application/webhook+json"],
      ["Authorization", await token.toJwt()],
    ];
  },

  async verify({ secret, headers, body }) {
    const { WebhookReceiver } = await import("livekit-server-sdk");
    const receiver = new WebhookReceiver(...keyOf(secret));
    return (await receiver.receive(body.toString(), headers.authorization)).id;
  },
};

// The signature stands in the body. The secret is a private key where it signs and the certificate,
// or its public key, where it verifies: nothing is fetched.
const sns = {
  package: "sns-validator",

  async sign(request) {
    const message = {
      SignatureVersion: "2",
      SigningCertURL: "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-hookgate.pem",
      Timestamp: new Date(request.now * 1000).toISOString(),
      ...JSON.parse(request.text),
      Signature: "?",
    };
    const { algorithm, text } = await sns.signedText(message);
    const key = createPrivateKey(request.secret);
    message.Signature = crypto.sign(algorithm, Buffer.from(text), key).toString("base64");
    request.body = JSON.stringify(message, null, 2);
    return [
      ["Content-Type", "text/plain; charset=UTF-8"],
      ["x-amz-sns-message-type", message.Type],
      ["x-amz-sns-message-id", message.MessageId],
      ["x-amz-sns-topic-arn", message.TopicArn],
    ];
  },

  async verify({ secret, body }) {
    return (await sns.ask(body.toString(), secret)).MessageId;
  },

  /** What the SDK checks a signature against. */
  async signedText(message) {
    const { createVerify } = crypto;
    const signed = { text: "" };
    crypto.createVerify = (algorithm) => {
      signed.algorithm = algorithm;
      const verifier = {
        update: (text) => {
          signed.text += text;
          return verifier;
        },
        verify: () => true,
      };
      return verifier;
    };
    try {
      await sns.ask(message, "no certificate");
    } finally {
      crypto.createVerify = createVerify;
    }
    return signed;
  },

  async ask(message, certificate) {
    const { default: MessageValidator } = await import("sns-validator");
    const asked = typeof message === "string" ? JSON.parse(message) : { ...message };
    // It keeps certificates by their URL, which another one must not be found under.
    const url = new URL(asked.SigningCertURL);
    url.search = `asked=${(sns.asked = (sns.asked ?? 0) + 1)}.pem`;
    asked.SigningCertURL = url.href;
    const { get } = https;
    https.get = (_, answer) => {
      const chunks = { end: [], data: [] };
      const response = { statusCode: 200, on: (name, then) => (chunks[name].push(then), response) };
      answer(response);
      for (const then of chunks.data) then(certificate);
      for (const then of chunks.end) then();
      return { on: () => {} };
    };
    try {
      return await new Promise((resolve, reject) => {
        const validator = new MessageValidator();
        validator.validate(asked, (error, genuine) => (error ? reject(error) : resolve(genuine)));
      });
    } finally {
      https.get = get;
    }
  },
};

const zoom = {
  package: "@zoom/rivet",

  // The SDK signs the JSON as JavaScript writes it: other bodies are refused.
  async sign({ secret, text, now }) {
    const hmac = await hmacOf("hex", () => zoom.ask(secret, { "x-zm-request-timestamp": now }, text));
    return [
      ["x-zm-request-timestamp", String(now)],
      ["x-zm-signature", `v0=${hmac}`],
    ];
  },

  async verify({ secret, headers, body }) {
    const answer = await zoom.ask(secret, headers, body.toString());
    if (answer.statusCode !== 200) throw new Error(answer.body);
  },

  async ask(webhooksSecretToken, headers, body) {
    const { AwsLambdaReceiver } = await import("@zoom/rivet/users");
    const { debug } = console; // It tells what it does on stdout, which is the protocol here.
    console.debug = () => {};
    try {
      const handle = new AwsLambdaReceiver({ webhooksSecretToken }).start();
      return await handle({ headers, body }, {});
    } finally {
      console.debug = debug;
    }
  },
};

const line = {
  package: "@line/bot-sdk",

  async sign({ secret, text }) {
    const { validateSignature } = await import("@line/bot-sdk");
    const refuse = () => validateSignature(text, secret, "?");
    return [["X-Line-Signature", await hmacOf("base64", refuse)]];
  },

  async verify({ secret, headers, body }) {
    const { validateSignature } = await import("@line/bot-sdk");
    const signature = headers["x-line-signature"] ?? "";
    insist(validateSignature(body, secret, signature), "validateSignature");
  },
};

const sendgrid = {
  package: "@sendgrid/eventwebhook",

  // The secret is a private key in PEM where it signs, and the public key where it verifies.
  sign({ secret, text, now }) {
    const signature = crypto.sign("sha256", Buffer.from(`${now}${text}`), secret);
    return [
      ["X-Twilio-Email-Event-Webhook-Signature", signature.toString("base64")],
      ["X-Twilio-Email-Event-Webhook-Timestamp", String(now)],
    ];
  },

  async verify({ secret, headers, body }) {
    const { EventWebhook, EventWebhookHeader } = (await import("@sendgrid/eventwebhook")).default;
    const webhook = new EventWebhook();
    const [signature, timestamp] = [EventWebhookHeader.SIGNATURE(), EventWebhookHeader.TIMESTAMP()];
    const genuine = webhook.verifySignature(
      webhook.convertPublicKeyToECDSA(secret),
      body,
      headers[signature.toLowerCase()],
      headers[timestamp.toLowerCase()],
    );
    insist(genuine, "EventWebhook.verifySignature");
  },
};

const discord = {
  package: "discord-interactions",

  // The secret is a private key in PEM where it signs, and the public key where it verifies.
  sign({ secret, text, now }) {
    const signature = crypto.sign(null, Buffer.from(`${now}${text}`), secret);
    return [
      ["X-Signature-Ed25519", signature.toString("hex")],
      ["X-Signature-Timestamp", String(now)],
    ];
  },

  async verify({ secret, headers, body }) {
    const { verifyKey } = await import("discord-interactions");
    const signed = [headers["x-signature-ed25519"], headers["x-signature-timestamp"]];
    insist(await verifyKey(body, ...signed, secret), "verifyKey");
    return idIn(body);
  },
};

const paddle = {
  package: "@paddle/paddle-node-sdk",

  async sign({ secret, text, now }) {
    const webhooks = await paddle.webhooks();
    const refuse = () => webhooks.isSignatureValid(text, secret, `ts=${now};h1=?`);
    return [["Paddle-Signature", `ts=${now};h1=${await hmacOf("hex", refuse)}`]];
  },

  async verify({ secret, headers, body }) {
    const webhooks = await paddle.webhooks();
    const asked = [body.toString(), secret, headers["paddle-signature"]];
    insist(await webhooks.isSignatureValid(...asked), "Webhooks.isSignatureValid");
    return idIn(body, "event_id");
  },

  async webhooks() {
    const { Paddle } = await import("@paddle/paddle-node-sdk");
    return new Paddle("hookgate").webhooks;
  },
};

// The SDKs of Standard Webhooks, which verify with this package and so are signed for with it.
const standard = (name, prefix, verify) => ({
  package: name,

  sign({ secret, text, now, id }) {
    const messageId = id ?? `msg_${crypto.randomUUID().replaceAll("-", "")}`;
    const signature = new Webhook(secret).sign(messageId, new Date(now * 1000), text);
    return [
      [`${prefix}-id`, messageId],
      [`${prefix}-timestamp`, String(now)],
      [`${prefix}-signature`, signature],
    ];
  },

  async verify({ secret, headers, body }) {
    await verify(body.toString(), headers, secret);
    return headers[`${prefix}-id`];
  },
});

const clerk = standard("@clerk/backend", "svix", async (body, headers, signingSecret) => {
  const { verifyWebhook } = await import("@clerk/backend/webhooks");
  const request = new Request("https://hookgate.invalid/", { method: "POST", headers, body });
  await verifyWebhook(request, { signingSecret });
});

const dodopayments = standard("dodopayments", "webhook", async (body, headers, key) => {
  const { default: DodoPayments } = await import("dodopayments");
  new DodoPayments({ bearerToken: "hookgate" }).webhooks.unwrap(body, { headers, key });
});

const lithic = standard("lithic", "webhook", async (body, headers, secret) => {
  const { default: Lithic } = await import("lithic");
  new Lithic({ apiKey: "hookgate" }).webhooks.verifySignature(body, headers, secret);
});

const liveblocks = standard("@liveblocks/node", "webhook", async (body, headers, secret) => {
  const { WebhookHandler } = await import("@liveblocks/node");
  new WebhookHandler(secret).verifyRequest({ headers, rawBody: body });
});

const replicate = {
  ...standard("replicate", "webhook", async (body, headers, secret) => {
    insist(await replicate.ask(body, headers, secret), "validateWebhook");
  }),

  async sign({ secret, text, now, id }) {
    const headers = {
      "webhook-id": id ?? `msg_${crypto.randomUUID().replaceAll("-", "")}`,
      "webhook-timestamp": String(now),
      "webhook-signature": "v1,?",
    };
    const hmac = await hmacOf("base64", () => replicate.ask(text, headers, secret));
    return Object.entries({ ...headers, "webhook-signature": `v1,${hmac}` });
  },

  async ask(body, headers, secret) {
    const { validateWebhook } = await import("replicate");
    const [id, timestamp, signature] = ["id", "timestamp", "signature"].map(
      (name) => headers[`webhook-${name}`],
    );
    return validateWebhook({ id, timestamp, signature, body, secret }, webcrypto);
  },
};

const getstream = {
  package: "@stream-io/node-sdk",

  async sign({ secret, text, id }) {
    const client = await getstream.client(secret);
    return [
      ["X-Webhook-Id", id ?? crypto.randomUUID()],
      ["X-Webhook-Attempt", "1"],
      ["X-Api-Key", client.apiKey],
      ["X-Signature", await hmacOf("hex", () => client.verifyWebhook(text, "?"))],
    ];
  },

  async verify({ secret, headers, body }) {
    const client = await getstream.client(secret);
    const genuine = client.verifyWebhook(body, headers["x-signature"] ?? "");
    insist(genuine, "StreamClient.verifyWebhook");
    return headers["x-webhook-id"];
  },

  async client(secret) {
    const { StreamClient } = await import("@stream-io/node-sdk");
    return new StreamClient("hookgate_key", secret);
  },
};

const sanity = {
  package: "@sanity/webhook",

  async sign({ secret, text, now, id, type }) {
    const { SIGNATURE_HEADER_NAME, encodeSignatureHeader } = await import("@sanity/webhook");
    return [
      ["Idempotency-Key", id ?? crypto.randomUUID()],
      ["Sanity-Operation", type ?? "create"],
      [SIGNATURE_HEADER_NAME, await encodeSignatureHeader(text, now * 1000, secret)],
    ];
  },

  async verify({ secret, headers, body }) {
    const { assertValidRequest } = await import("@sanity/webhook");
    await assertValidRequest({ headers, body }, secret);
    return headers["idempotency-key"];
  },
};

export const MORE_SDKS = new Map([
  ["aws_sns", sns],
  ["clerk", clerk],
  ["contentful", contentful],
  ["discord", discord],
  ["dodopayments", dodopayments],
  ["getstream", getstream],
  ["line", line],
  ["linear", linear],
  ["lithic", lithic],
  ["liveblocks", liveblocks],
  ["livekit", livekit],
  ["mux", mux],
  ["notion", notion],
  ["paddle", paddle],
  ["pusher", pusher],
  ["replicate", replicate],
  ["sanity", sanity],
  ["sendgrid", sendgrid],
  ["twitch", twitch],
  ["zoom", zoom],
]);
