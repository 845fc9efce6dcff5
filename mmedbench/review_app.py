"""The web page on which two reviewers judge rationales and a referee settles their conflicts.

Reads   an open review (review_store.py), review_page/ (templates, style, script, interface texts in eight languages).
Writes  answers, into the review.

The personal token is part of every address and there are no cookies: several people may use one browser, and no
other site can act in anyone's name, because it would have to know the address. What a model wrote is only ever text:
templates escape it, and the content security policy allows no script but our own.

    waitress.serve(create_app(ReviewStore(Path("data/review.sqlite"))), host="127.0.0.1", port=8765)
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

import flask
import jinja2
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound

from benchmark_files import LANGUAGE_FILES, answer_letters
from review_agreement import Verdict, verdicts
from review_store import CRITERIA, NOTE_CHARACTERS, Answer, Item, Person, ReviewStore

PAGE = Path(__file__).resolve().parent / "review_page"
KEYS = {"supports": ("1", "2"), "correct": ("3", "4")}  # yes, no
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # addresses hold tokens: no other site may see them
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
VALUES = {"yes": True, "no": False, "": None}


class Desk:
    """What one person has to do, and has done: the view of the store that the person is allowed to see."""

    def __init__(self, store: ReviewStore, person: Person):
        self.store, self.person = store, person
        self.own = store.answers(person)
        self.is_referee = person.role == "referee"
        self._verdicts: dict[int, Verdict] = verdicts(store) if self.is_referee else {}

    def items(self, language: str) -> list[Item]:
        """A reviewer's: all. The referee's: those that both have judged, and not alike."""
        items = self.store.items.get(language, [])
        return [item for item in items if self._verdicts[item.id].conflicts] if self.is_referee else items

    def state(self, item: Item) -> str:
        """done, begun or open."""
        answer = self.own.get(item.id, Answer())
        if self._verdicts[item.id].settled if self.is_referee else answer.complete:
            return "done"
        return "open" if answer == Answer() else "begun"

    def done(self, language: str) -> int:
        return sum(self.state(item) == "done" for item in self.items(language))

    def conflicts(self, item: Item) -> tuple[str, ...]:
        """The criteria this person has to judge."""
        return self._verdicts[item.id].conflicts if self.is_referee else CRITERIA

    def next_open(self, language: str, after: int) -> Item | None:
        """The first item that is not done after this position, then from the start; the item itself left out."""
        items = self.items(language)
        turned = [item for item in items if item.position > after] + [item for item in items if item.position < after]
        return next((item for item in turned if self.state(item) != "done"), None)


class PageApp(flask.Flask):
    def log_exception(self, exc_info) -> None:
        """The failure without the request's address, which holds a token."""
        self.logger.error("a page failed", exc_info=exc_info)


def create_app(store: ReviewStore) -> flask.Flask:
    """The WSGI application over an open review."""
    app = PageApp("review_page", root_path=str(PAGE))
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.config["MAX_CONTENT_LENGTH"] = 16 * NOTE_CHARACTERS  # a note of four-byte characters, percent-encoded, fits
    texts = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))

    def desk_of(token: str) -> Desk:
        person = store.person_of(token)
        if person is None:
            raise NotFound
        return Desk(store, person)

    def item_of(desk: Desk, language: str, position: int) -> Item:
        for item in desk.items(language):
            if item.position == position:
                return item
        raise NotFound

    def browser_language() -> str:
        return flask.request.accept_languages.best_match(list(LANGUAGE_FILES)) or "en"

    def progress(desk: Desk, language: str) -> dict:
        done, total = desk.done(language), len(desk.items(language))
        words = texts[language]["settled" if desk.is_referee else "judged"]
        return {"done": done, "total": total, "progress": words.format(done=done, total=total)}

    def next_address(desk: Desk, token: str, language: str, after: int) -> str:
        item = desk.next_open(language, after)
        if item is None:
            return flask.url_for("finished", token=token, language=language)
        return flask.url_for("rationale", token=token, language=language, position=item.position)

    @app.get("/r/<token>/")
    def overview(token: str):
        desk = desk_of(token)
        rows = [{"language": code, "t": texts[code], "url": flask.url_for("resume", token=token, language=code),
                 **progress(desk, code)} for code in store.items]
        language = browser_language()
        return flask.render_template("overview.html", language=language, t=texts[language], person=desk.person,
                                     rows=rows)

    @app.get("/r/<token>/<language>/")
    def resume(token: str, language: str):
        """Where the person stopped: the first item that is not done."""
        desk = desk_of(token)
        if language not in store.items:
            raise NotFound
        return flask.redirect(next_address(desk, token, language, 0))

    @app.get("/r/<token>/<language>/finished")
    def finished(token: str, language: str):
        desk = desk_of(token)
        if language not in store.items:
            raise NotFound
        first = next((flask.url_for("rationale", token=token, language=language, position=item.position)
                      for item in desk.items(language)), None)
        return flask.render_template("finished.html", language=language, t=texts[language], first=first,
                                     overview=flask.url_for("overview", token=token), **progress(desk, language))

    @app.get("/r/<token>/<language>/<int:position>")
    def rationale(token: str, language: str, position: int):
        desk = desk_of(token)
        item = item_of(desk, language, position)
        return show(desk, token, item, incomplete=False)

    @app.post("/r/<token>/<language>/<int:position>")
    def answer(token: str, language: str, position: int):
        """Save; then JSON for the script, or for a browser without it the next page."""
        refuse_other_sites()
        desk = desk_of(token)
        item = item_of(desk, language, position)
        store.save(item, desk.person, read_answer(flask.request.form, desk.conflicts(item)))
        desk = desk_of(token)
        following = next_address(desk, token, language, position)
        if flask.request.accept_mimetypes.best == "application/json":
            return {"next": following, **progress(desk, language)}
        if desk.state(item) != "done":
            return show(desk, token, item, incomplete=True)
        return flask.redirect(following, code=303)

    def show(desk: Desk, token: str, item: Item, incomplete: bool):
        t = texts[item.language]
        items = desk.items(item.language)
        address = {other.position: flask.url_for("rationale", token=token, language=item.language,
                                                 position=other.position) for other in items}
        at = items.index(item)
        own = desk.own.get(item.id, Answer())
        criteria, notes = shown_criteria(store, desk, item, own, t)
        return flask.render_template(
            "rationale.html", language=item.language, t=t, person=desk.person, item=item, record=item.record,
            right=answer_letters(item.record), answer=own, criteria=criteria, notes=notes,
            place=t["number"].format(number=at + 1, total=len(items)),
            numbers=[(other.position, address[other.position], desk.state(other)) for other in items],
            previous=address[items[at - 1].position] if at else None,
            next=address[items[at + 1].position] if at + 1 < len(items) else None,
            own=address[item.position], overview=flask.url_for("overview", token=token), incomplete=incomplete,
            saved=own != Answer(), note_characters=NOTE_CHARACTERS, **progress(desk, item.language),
        )  # fmt: skip

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)
    def explain(error: HTTPException):
        if error.code is not None and error.code < 400:  # a redirect to the address with its final slash
            return error
        language = browser_language()
        words = texts[language]
        token = (flask.request.view_args or {}).get("token")
        if error.code == 404:
            message = words["not_found" if token and store.person_of(token) else "no_link"]
        else:
            message = f"{error.code}: {error.description}"
        return flask.render_template("message.html", language=language, t=words, message=message), error.code

    return app


def shown_criteria(store: ReviewStore, desk: Desk, item: Item, own: Answer, t: dict) -> tuple[list[dict], list[tuple]]:
    """(the criteria as the template shows them, the reviewers' notes): what others said is the referee's alone."""
    others = [(t[f"reviewer_{number}"], store.answers(person).get(item.id, Answer()))
              for number, person in enumerate(store.reviewers, start=1)] if desk.is_referee else []
    asked = desk.conflicts(item)
    criteria = [{"name": name, "text": t[name], "digits": KEYS[name], "value": getattr(own, name),
                 "agreed": name not in asked, "said": [(who, getattr(said, name)) for who, said in others]}
                for name in CRITERIA]
    return criteria, [(who, said.note) for who, said in others if said.note]


def refuse_other_sites() -> None:
    """A second lock beside the secret address: browsers say where a request comes from. Errors: Forbidden."""
    if flask.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the request comes from another site")
    origin = flask.request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != flask.request.host:
        raise Forbidden("the request comes from another site")


def read_answer(form, asked: tuple[str, ...]) -> Answer:
    """The answer that a form holds; criteria that are not asked stay open. Errors: BadRequest."""
    values = {}
    for name in asked:
        if form.get(name, "") not in VALUES:
            raise BadRequest(f"{name} is yes or no")
        values[name] = VALUES[form.get(name, "")]
    note = form.get("note", "").replace("\r\n", "\n").replace("\x00", "")
    if len(note) > NOTE_CHARACTERS:
        raise BadRequest(f"a note has at most {NOTE_CHARACTERS} characters")
    return Answer(**values, note=note)
