// A PouchDB server on a free port of 127.0.0.1, as a provider that Hookgate polls.
//
// Everything that it says is express-pouchdb's own; this file starts it, with its databases in memory.
//
//     node pouchdb-server.mjs
//
// It says `{"port": N}` when it listens, and ends when stdin does.

import express from "express";
import expressPouchDB from "express-pouchdb";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-node";

const InMemory = PouchDB.plugin(memory).defaults({ adapter: "memory" });
const app = express();
app.use(
  "/",
  expressPouchDB(InMemory, {
    mode: "minimumForPouchDB",
    inMemoryConfig: true,
    logPath: "/dev/null",
  }),
);
const server = app.listen(0, "127.0.0.1", () => {
  process.stdout.write(`${JSON.stringify({ port: server.address().port })}\n`);
});
// A test that dies closes the pipe, and so takes its server along.
process.stdin.on("close", () => process.exit(0)).resume();
