"""Stands for AWS's session-manager-plugin: its arguments, its words, its manners."""

import json
import os
import re
import socket
import sys
import threading
import time

LAST_WITHOUT_VARIABLE = (1, 2, 497, 0)


def main():
    if sys.argv[1:] == ["--version"]:
        print(VERSION)  # noqa: F821 - written before this
        return
    response, region, operation, profile, request, endpoint = sys.argv[1:]
    if response.startswith("AWS_SSM_START_SESSION_RESPONSE"):
        version = tuple(map(int, VERSION.split(".")))  # noqa: F821
        assert version > LAST_WITHOUT_VARIABLE
        response = os.environ[response]
    session = json.loads(response)
    target = json.loads(request)["Target"]
    assert operation == "StartSession", operation
    assert re.fullmatch("i-[0-9a-f]+", target), target
    assert region, sys.argv
    assert endpoint.startswith("http"), sys.argv
    assert isinstance(profile, str)
    # Before anything else, and to where the bytes go.
    say(f"\nStarting session with SessionId: {session['SessionId']}\n")
    host, port = session["StreamUrl"].removeprefix("ws://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(session["TokenValue"].encode())
    threading.Thread(target=send, args=(connection,), daemon=True).start()
    while data := connection.recv(65536):
        write(data)
    say(f"\n\nExiting session with sessionId: {session['SessionId']}.\n\n")
    os._exit(0)


def send(connection):
    """Read standard input as the real one does, also where that is a mistake."""
    while data := os.read(0, 1024):
        if data == b"\n":
            data = b"\r"
        connection.sendall(data)
        time.sleep(0)
    # Without a word to the service.
    os._exit(0)


def say(text):
    write(text.encode())


def write(data):
    while data:
        data = data[os.write(1, data) :]


main()
