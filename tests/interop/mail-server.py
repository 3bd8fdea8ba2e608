"""A mail server that misbehaves where it is asked to (aiosmtpd, RFC 5321, RFC 4954).

usage: mail-server.py FOLDER PORT starttls|tls|none [CERTIFICATE KEY USER PASSWORD]

Each mail it takes becomes FOLDER/NUMBER.eml, whole or not at all, with "X-Recipient" in front. Whom a mail is for decides
what happens to it:
  unknown@…    550 at RCPT
  refused@…    554 after the data
  greylist@…   451 at RCPT the first time, then taken
  busy@…       451 at RCPT always
  slow@…       taken, but that is said only after 50 ms
It prints its port once it listens, and then a line for each attempt: the recipient and what was answered.
"""

import asyncio
import os
import signal
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


class Handler:
    def __init__(self, folder):
        self.folder = folder
        self.seen = set()
        self.taken = len([name for name in os.listdir(folder) if name.endswith(".eml")])

    async def handle_RCPT(self, server, session, envelope, address, options):
        who = address.split("@")[0]
        answer = "250 OK"
        if who == "unknown":
            answer = "550 5.1.1 no such user"
        elif who == "busy" or (who == "greylist" and address not in self.seen):
            self.seen.add(address)
            answer = "451 4.7.1 greylisted, try again later"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        else:
            print(address, answer, flush=True)
        return answer

    async def handle_DATA(self, server, session, envelope):
        address = envelope.rcpt_tos[0]
        if address.startswith("refused@"):
            print(address, "554", flush=True)
            return "554 5.6.0 I do not like it"
        self.taken += 1
        path = os.path.join(self.folder, f"{self.taken:05}.eml")
        with open(path + ".new", "wb") as file:
            file.write(b"X-Recipient: " + address.encode() + b"\r\n" + envelope.content)
        os.rename(path + ".new", path)
        print(address, "250", flush=True)
        if address.startswith("slow@"):
            await asyncio.sleep(0.05)
        return "250 OK"


class Server(Controller):
    def __init__(self, *arguments, options, **keywords):
        self.options = options
        super().__init__(*arguments, **keywords)

    def factory(self):
        return SMTP(self.handler, **self.options)


def main():
    folder, port, mode, *rest = sys.argv[1:]
    options = {"data_size_limit": 50_000_000, "enable_SMTPUTF8": True}
    context = None
    if rest:
        certificate, key, user, password = rest

        def authenticator(server, session, envelope, mechanism, data):
            is_right = (
                isinstance(data, LoginPassword)
                and data.login == user.encode()
                and data.password == password.encode()
            )
            if not is_right:
                print("authentication 535", flush=True)
            return AuthResult(success=is_right, handled=False)

        options |= {"authenticator": authenticator, "auth_required": True}
        if mode != "none":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
    if mode == "starttls":
        options |= {"tls_context": context, "require_starttls": True}
    elif mode == "tls":
        # aiosmtpd knows of TLS only when it began it itself.
        options |= {"auth_require_tls": False}
    server = Server(
        Handler(folder),
        hostname="127.0.0.1",
        port=int(port),
        ssl_context=context if mode == "tls" else None,
        options=options,
    )
    server.start()
    print(port, flush=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    server.stop()


main()
