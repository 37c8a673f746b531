// Bots of three libraries, as each library's documentation shows them, for Hookgate's tests to feed.
//
// Everything that is asked and answered is the libraries' own.
//
//     node bots.mjs LIBRARY polling     grammy, telegraf or vk-io
//     node bots.mjs LIBRARY webhook     the same: POST /telegram or /vk on 127.0.0.1
//
// It takes its settings from the environment: API_URL (in place of the provider's own address), TOKEN,
// SECRET and, for VK, CONFIRMATION and GROUP. It says `{"ready": true}` or `{"listening": PORT}`, then
// `{"id", "chat", "text"}` of each message that it handles. A Telegram bot also replies `echo TEXT`.
// It ends when stdin does.
//
// `bots.py` beside this folder speaks the same protocol for the Python libraries.

import { Agent, createServer } from "node:http";

import { Bot, webhookCallback } from "grammy";
import { Telegraf } from "telegraf";
import { message } from "telegraf/filters";
import { VK } from "vk-io";

const { API_URL, TOKEN, SECRET, CONFIRMATION, GROUP } = process.env;

const grammy = {
  polling() {
    const bot = this.bot();
    process.once("SIGTERM", () => bot.stop());
    bot.start({ onStart: ready });
  },

  webhook() {
    listen(webhookCallback(this.bot(), "http", { secretToken: SECRET }));
  },

  bot() {
    const bot = new Bot(TOKEN, {
      client: { apiRoot: API_URL, canUseWebhookReply: (method) => method === "sendMessage" },
    });
    bot.on("message:text", (ctx) => {
      sayHandled(ctx.update.update_id, ctx.chat.id, ctx.message.text);
      return ctx.reply(`echo ${ctx.message.text}`);
    });
    return bot;
  },
};

const telegraf = {
  polling() {
    const bot = this.bot();
    process.once("SIGTERM", () => bot.stop("SIGTERM"));
    bot.launch(ready);
  },

  webhook() {
    listen(this.bot().webhookCallback("/telegram", { secretToken: SECRET }));
  },

  bot() {
    const bot = new Telegraf(TOKEN, { telegram: { apiRoot: API_URL, webhookReply: true } });
    bot.on(message("text"), async (ctx) => {
      sayHandled(ctx.update.update_id, ctx.chat.id, ctx.message.text);
      // One of the few methods that Telegraf puts in the answer to a webhook; sendMessage is not.
      await ctx.sendChatAction("typing");
      await ctx.reply(`echo ${ctx.message.text}`);
    });
    return bot;
  },
};

const vkIo = {
  async polling() {
    await this.vk().updates.startPolling();
    ready();
  },

  webhook() {
    listen(this.vk().updates.getWebhookCallback("/vk"));
  },

  vk() {
    const vk = new VK({
      token: TOKEN,
      apiBaseUrl: `${API_URL}/method`,
      agent: new Agent({ keepAlive: true }), // Its own knows HTTPS only.
      pollingGroupId: Number(GROUP),
      webhookSecret: SECRET,
      webhookConfirmation: CONFIRMATION,
    });
    // The library keeps an event's id to itself; this is the message's.
    vk.updates.on("message_new", (context) => {
      sayHandled(context.id, context.peerId, context.text);
    });
    return vk;
  },
};

function listen(handler) {
  const server = createServer(handler);
  server.listen(0, "127.0.0.1", () => say({ listening: server.address().port }));
}

function ready() {
  say({ ready: true });
}

function sayHandled(id, chat, text) {
  say({ id, chat, text });
}

function say(document) {
  process.stdout.write(`${JSON.stringify(document)}\n`);
}

// Waits no longer than the bot does, and ends the bot as its library knows it.
process.stdin.on("close", () => process.kill(process.pid, "SIGTERM")).resume().unref();

const [library, mode] = process.argv.slice(2);
({ grammy, telegraf, "vk-io": vkIo })[library][mode]();
