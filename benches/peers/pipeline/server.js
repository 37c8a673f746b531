// The usual pipeline made by hand: Express checks the signature and puts the event into a queue of
// BullMQ, which a worker takes to the backend.
//
//     node server.js PORT REDIS_PORT SECRET [BACKEND]

import { createHmac, timingSafeEqual } from "node:crypto";
import { Queue, Worker } from "bullmq";
import express from "express";

const [port, redis, secret, backend] = process.argv.slice(2);
const connection = { host: "127.0.0.1", port: Number(redis), maxRetriesPerRequest: null };
const queue = new Queue("hooks", { connection });
const kept = { attempts: 12, backoff: { type: "exponential", delay: 5000 }, removeOnComplete: 1000 };

const app = express();
app.post("/hooks", express.raw({ type: () => true, limit: "1mb" }), async (request, response) => {
  const expected = createHmac("sha256", secret).update(request.body).digest();
  const shown = Buffer.from((request.get("X-Hub-Signature-256") ?? "").slice("sha256=".length), "hex");
  if (shown.length !== expected.length || !timingSafeEqual(shown, expected)) {
    response.sendStatus(401);
    return;
  }
  const event = { headers: request.rawHeaders, body: request.body.toString("base64") };
  await queue.add("event", event, { ...kept, jobId: request.get("X-Event") });
  response.sendStatus(202);
});
app.listen(Number(port), "127.0.0.1");

if (backend) {
  const deliver = async (job) => {
    const body = Buffer.from(job.data.body, "base64");
    const headers = { "Content-Type": "application/json", "X-Sent": sent(job.data.headers) };
    const answer = await fetch(backend, { method: "POST", headers, body });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
  };
  new Worker("hooks", deliver, { connection, concurrency: 64 });
}

function sent(headers) {
  const at = headers.findIndex((name) => name.toLowerCase() === "x-sent");
  return at < 0 ? "" : headers[at + 1];
}
