"""`miractl init`, `login` and `logout`: where an engine is, and who asks it."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click
from headway_wire.errors import HeadwayError, Invalid

from headway_cli.miractl.app import Miractl
from headway_cli.miractl.client import Client
from headway_cli.miractl.contexts import Context, Files, checked_url
from headway_cli.miractl.group import Command
from headway_cli.miractl.session import tokens_from
from headway_cli.output import clean, moment

NAME = "default"
URL = "http://localhost:8080"
SECRET_CHARS_MAX = 1_000


@click.command(cls=Command)
@click.option("--name", help=f"Name of the context.  [asked; default: {NAME}]")
@click.option("--url", help=f"Address of the engine.  [asked; default: {URL}]")
@click.pass_obj
def init(app: Miractl, name: str | None, url: str | None) -> None:
    """Say where an engine is.  It becomes a context, and the current one.

    What is not given is asked for.  With --insecure the context never checks the engine's certificate.
    """
    if url is None:
        name = name or _ask("Name of the context", NAME)
        url = _ask("Address of the engine", URL)
        if url.startswith("https:") and not app.insecure and sys.stdin.isatty():
            app.insecure = not click.confirm("Check its certificate?", default=True, err=True)
    context = Context((name or NAME).strip(), checked_url(url.strip()), app.insecure)
    if not context.name:
        raise Invalid("a context needs a name; give --name", code="usage")
    files = Files()
    with files.locked():
        files.keep_contexts(files.contexts().with_context(context))
    value = {"context": context.name, "url": context.url, "insecure": context.insecure}
    app.done(value, f"Context '{context.name}' is {context.url}.  Next: miractl login")


@click.command(cls=Command)
@click.option("--api-key", metavar="ID", help="Id of the API key, like key-...  [asked]")
@click.option("--api-secret-stdin", is_flag=True, help="Read the secret from standard input.")
@click.pass_obj
def login(app: Miractl, api_key: str | None, api_secret_stdin: bool) -> None:
    """Open a session with an API key.  The secret is asked for, and kept nowhere."""
    files = Files()
    context = files.contexts().get(app.context)
    _warn_of_plain_text(context)
    key = api_key or _ask("Id of the API key", "")
    if api_secret_stdin:
        secret = sys.stdin.readline(SECRET_CHARS_MAX).strip()
    else:
        _need_terminal("the secret; give it with --api-secret-stdin")
        secret = click.prompt("Secret", hide_input=True, err=True)
    client = Client(context.url, app.insecure or context.insecure)
    answer = client.call("POST", "/auth/login", {"api_key_id": key.strip(), "api_secret": secret})
    tokens = tokens_from(answer, key=key.strip())
    with files.locked():
        files.keep_tokens(context.name, tokens)
    user = answer["user"]
    tenant = (user.get("tenant") or {}).get("slug", "")
    value = {
        "context": context.name,
        "url": context.url,
        "username": user["username"],
        "role": user["role"],
        "tenant": tenant,
        "expires_ms": tokens.refresh_expires_ms,
    }
    until = moment(tokens.refresh_expires_ms)
    who = f"{clean(user['username'])} ({clean(user['role'])})"
    app.done(value, f"Logged in to '{context.name}' as {who}, tenant {clean(tenant)}, until {until}.")


@click.command(cls=Command)
@click.pass_obj
def logout(app: Miractl) -> None:
    """End the session.  Its tokens are forgotten here even when the engine is away."""
    session = app.session
    files, name = session.files, session.context.name
    if files.tokens_of(name) is None:
        app.done({"context": name, "ended": False}, f"There was no session with '{name}'.")
        return
    problem = ""
    try:
        session.call("POST", "/auth/logout")
    except HeadwayError as error:
        problem = error.message
    with files.locked():
        files.keep_tokens(name, None)
    text = f"Logged out of '{name}'."
    if problem:
        text += f"\nThe engine was not told ({clean(problem)}); there the session ends by itself."
    app.done({"context": name, "ended": not problem}, text)


def _ask(what: str, default: str) -> str:
    _need_terminal(f"'{what}'; give it as an option, see --help")
    return str(click.prompt(what, default=default or None, err=True))


def _need_terminal(what: str) -> None:
    if not sys.stdin.isatty():
        raise Invalid(f"there is no terminal to ask for {what}", code="usage")


def _warn_of_plain_text(context: Context) -> None:
    parts = urlsplit(context.url)
    near = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme == "http" and not near:
        text = f"warning: {context.url} is not encrypted; others on the way can read the secret"
        click.echo(click.style(text, fg="yellow"), err=True)
