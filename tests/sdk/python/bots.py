"""Bots of four libraries, as each library's documentation shows them, for Hookgate's tests to feed.

Everything that is asked and answered is the libraries' own.

    python bots.py LIBRARY polling     ptb, aiogram, vk_api or vkbottle
    python bots.py LIBRARY webhook     ptb, aiogram or vkbottle: POST /telegram or /vk on 127.0.0.1

It takes its settings from the environment: API_URL (in place of the provider's own address), TOKEN,
SECRET and, for VK, CONFIRMATION and GROUP. It says `{"ready": true}` or `{"listening": PORT}`, then
`{"id", "chat", "text"}` of each message that it handles. A Telegram bot also replies `echo TEXT`.
It ends when stdin does.

`bots.mjs` beside this folder speaks the same protocol for the Node libraries.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading

API_URL = os.environ["API_URL"]
TOKEN = os.environ["TOKEN"]
SECRET = os.environ.get("SECRET")

# Each function imports the library that it is about: to import them all takes seconds.


def ptb_polling():
    ptb({"ready": True}).run_polling()


def ptb_webhook():
    listener, port = listen()
    ptb({"listening": port}).run_webhook(
        unix=listener,  # Named for one kind of socket, it takes any.
        url_path="/telegram",
        webhook_url=f"http://127.0.0.1:{port}/telegram",
        secret_token=SECRET,
    )


def ptb(first_line):
    """A bot of python-telegram-bot, which says `first_line` when it has started."""
    from telegram.ext import Application, MessageHandler, filters

    async def start(application):
        say(first_line)

    async def echo(update, context):
        message = update.message
        say_handled(update.update_id, message.chat_id, message.text)
        await message.reply_text(f"echo {message.text}")

    builder = Application.builder().token(TOKEN).base_url(f"{API_URL}/bot")
    application = builder.post_init(start).build()
    application.add_handler(MessageHandler(filters.UpdateType.MESSAGE & filters.TEXT, echo))
    return application


def aiogram_polling():
    dispatcher, bot = aiogram({"ready": True})
    dispatcher.run_polling(bot)


def aiogram_webhook():
    from aiogram.webhook.aiohttp_server import SimpleRequestHandler, setup_application
    from aiohttp import web

    listener, port = listen()
    dispatcher, bot = aiogram({"listening": port})
    # Not in the background, so that the reply is in the answer to the webhook.
    handler = SimpleRequestHandler(
        dispatcher, bot, handle_in_background=False, secret_token=SECRET
    )
    application = web.Application()
    handler.register(application, path="/telegram")
    setup_application(application, dispatcher, bot=bot)
    web.run_app(application, sock=listener, print=None)


def aiogram(first_line):
    """A dispatcher and a bot of aiogram, which say `first_line` when they have started."""
    from aiogram import Bot, Dispatcher, F
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    dispatcher = Dispatcher()

    @dispatcher.startup()
    async def start():
        say(first_line)

    @dispatcher.message(F.text)
    async def echo(message, event_update):
        say_handled(event_update.update_id, message.chat.id, message.text)
        # What is returned is called, or is put in the answer to the webhook.
        return message.answer(f"echo {message.text}")

    session = AiohttpSession(api=TelegramAPIServer.from_base(API_URL))
    return dispatcher, Bot(TOKEN, session=session)


def vk_api_polling():
    import requests
    import vk_api
    from vk_api.bot_longpoll import VkBotEventType, VkBotLongPoll

    class ToApiUrl(requests.adapters.HTTPAdapter):
        """Sends elsewhere what is meant for VK, since the library has no setting for its address."""

        def send(self, request, **kwargs):
            request.url = request.url.replace("https://api.vk.ru", API_URL)
            return super().send(request, **kwargs)

    session = requests.Session()
    session.mount("https://api.vk.ru", ToApiUrl())
    vk = vk_api.VkApi(token=TOKEN, session=session)
    long_poll = VkBotLongPoll(vk, os.environ["GROUP"])
    say({"ready": True})
    for event in long_poll.listen():
        if event.type == VkBotEventType.MESSAGE_NEW:
            say_handled(event.raw["event_id"], event.message.peer_id, event.message.text)


def vkbottle_polling():
    bot = vkbottle()
    say({"ready": True})
    bot.run()


def vkbottle_webhook():
    from aiohttp import web

    bot = vkbottle()

    async def receive(request):
        event = await request.json()
        if event["type"] == "confirmation":
            return web.Response(text=os.environ["CONFIRMATION"])
        if event.get("secret") != SECRET:
            return web.Response(status=403)
        await bot.process_event(event)
        return web.Response(text="ok")

    listener, port = listen()
    application = web.Application()
    application.router.add_post("/vk", receive)
    say({"listening": port})
    web.run_app(application, sock=listener, print=None)


def vkbottle():
    """A bot of vkbottle."""
    from vkbottle import API, Bot, BotPolling, GroupEventType, GroupTypes

    class Polling(BotPolling):
        """Leaves out the file, in the working directory, that a bot with these settings never reads."""

        def save_server_ts(self, server):
            pass

    api = API(TOKEN)
    api.API_URL = f"{API_URL}/method/"
    bot = Bot(api=api, polling=Polling())

    @bot.on.raw_event(GroupEventType.MESSAGE_NEW, dataclass=GroupTypes.MessageNew)
    async def hear(event):
        message = event.object.message
        say_handled(event.event_id, message.peer_id, message.text)

    return bot


def listen():
    """A listening socket on a free port of 127.0.0.1, and the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    return listener, listener.getsockname()[1]


def say_handled(update, chat, text):
    say({"id": update, "chat": chat, "text": text})


def say(document):
    print(json.dumps(document), flush=True)


def end_with_stdin():
    """Ends the program as its libraries know it when the other side is gone."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


BOTS = {
    ("ptb", "polling"): ptb_polling,
    ("ptb", "webhook"): ptb_webhook,
    ("aiogram", "polling"): aiogram_polling,
    ("aiogram", "webhook"): aiogram_webhook,
    ("vk_api", "polling"): vk_api_polling,
    ("vkbottle", "polling"): vkbottle_polling,
    ("vkbottle", "webhook"): vkbottle_webhook,
}


def main(library, mode):
    logging.basicConfig(level=logging.WARNING)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    BOTS[library, mode]()


if __name__ == "__main__":
    main(*sys.argv[1:])
