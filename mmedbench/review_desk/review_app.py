"""The review's web page: what each person may see and do, and its addresses.

Reads   an open review (review_store.py), review_page/ (templates, style, script, interface texts in eight languages).
Writes  answers, into the review.

The personal token is part of every address and there are no cookies: several people may use one browser, and no
other site can act in anyone's name, because it would have to know the address. Model output is
escaped by the templates, and the content security policy allows only our own script.

    waitress.serve(create_app(ReviewStore(Path("data/review.sqlite"))), host="127.0.0.1", port=8765)
"""

import json
from pathlib import Path
from urllib.parse import urlsplit

import flask
import jinja2
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, NotFound

from mmedbench_questions import LANGUAGE_FILES, answer_letters
from review_desk.review_agreement import Verdict, verdicts
from review_desk.review_store import CRITERIA, NOTE_CHARACTERS, Answer, Item, Person, ReviewStore

KEYS = {"supports": ("1", "2"), "correct": ("3", "4")}  # yes, no
VALUES = {"yes": True, "no": False, "": None}


class Desk:
    """One person's side of the store, as it is now."""

    def __init__(self, store: ReviewStore, person: Person):
        self.store, self.person = store, person
        self.own = store.answers(person)
        self.is_referee = person.role == "referee"
        self._verdicts: dict[int, Verdict] = verdicts(store) if self.is_referee else {}

    def items(self, language: str) -> list[Item]:
        """All items for a reviewer; for the referee those with a conflict."""
        items = self.store.items.get(language, [])
        return [item for item in items if self._verdicts[item.id].conflicts] if self.is_referee else items

    def item(self, language: str, position: int) -> Item | None:
        return next((item for item in self.items(language) if item.position == position), None)

    def state(self, item: Item) -> str:
        """done, begun or open."""
        answer = self.own.get(item.id, Answer())
        if self._verdicts[item.id].settled if self.is_referee else answer.complete:
            return "done"
        return "open" if answer == Answer() else "begun"

    def done(self, language: str) -> int:
        return sum(self.state(item) == "done" for item in self.items(language))

    def asked(self, item: Item) -> tuple[str, ...]:
        """The criteria this person has to judge: the referee, only those in conflict."""
        return self._verdicts[item.id].conflicts if self.is_referee else CRITERIA

    def next_open(self, language: str, after: int) -> Item | None:
        """The first item that is not done after this position, then from the start; the item itself omitted."""
        items = self.items(language)
        turned = [item for item in items if item.position > after] + [item for item in items if item.position < after]
        return next((item for item in turned if self.state(item) != "done"), None)

    def said(self, item: Item) -> list[Answer]:
        """The two reviewers' answers if the person is the referee, else []."""
        if not self.is_referee:
            return []
        return [self.store.answers(person).get(item.id, Answer()) for person in self.store.reviewers]

    def criteria(self, item: Item, t: dict) -> list[dict]:
        """The criteria as the template shows them; t: the interface texts of the item's language."""
        own, said, asked = self.own.get(item.id, Answer()), self.said(item), self.asked(item)
        return [
            {
                "name": name,
                "text": t[name],
                "digits": KEYS[name],
                "value": getattr(own, name),
                "agreed": name not in asked,
                "said": [(t[f"reviewer_{n}"], getattr(answer, name)) for n, answer in enumerate(said, start=1)],
            }
            for name in CRITERIA
        ]

    def notes(self, item: Item, t: dict) -> list[tuple[str, str]]:
        """The reviewers' notes that the person may see."""
        return [(t[f"reviewer_{n}"], answer.note) for n, answer in enumerate(self.said(item), start=1) if answer.note]


def read_answer(form, asked: tuple[str, ...]) -> Answer:
    """The answer that a form holds; criteria that are not asked stay open. Errors: ValueError."""
    values = {}
    for name in asked:
        if form.get(name, "") not in VALUES:
            raise ValueError(f"{name} is yes or no")
        values[name] = VALUES[form.get(name, "")]
    note = form.get("note", "").replace("\r\n", "\n").replace("\x00", "")
    if len(note) > NOTE_CHARACTERS:
        raise ValueError(f"a note has at most {NOTE_CHARACTERS} characters")
    return Answer(**values, note=note)


PAGE = Path(__file__).resolve().parents[1] / "review_page"
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


class PageApp(flask.Flask):
    def log_exception(self, exc_info) -> None:
        """The failure without the request's address, which contains a token."""
        self.logger.error("a page failed", exc_info=exc_info)


def create_app(store: ReviewStore) -> flask.Flask:
    """The WSGI application over an open review."""
    app = PageApp("review_page", root_path=str(PAGE))
    app.jinja_env.undefined = jinja2.StrictUndefined
    app.config["MAX_CONTENT_LENGTH"] = 16 * NOTE_CHARACTERS  # a note of four-byte characters, percent-encoded, fits
    site = Site(store)
    for path, view, method in (
        ("/r/<token>/", site.overview, "GET"),
        ("/r/<token>/<language>/", site.resume, "GET"),
        ("/r/<token>/<language>/finished", site.finished, "GET"),
        ("/r/<token>/<language>/<int:position>", site.rationale, "GET"),
        ("/r/<token>/<language>/<int:position>", site.answer, "POST"),
    ):
        app.add_url_rule(path, endpoint=view.__name__, view_func=view, methods=[method])
    app.register_error_handler(HTTPException, site.explain)
    app.after_request(add_headers)
    return app


class Site:
    """The views. Each checks the token and what its person may see."""

    def __init__(self, store: ReviewStore):
        self.store = store
        self.texts = json.loads((PAGE / "texts.json").read_text(encoding="utf-8"))

    def overview(self, token: str):
        desk = self._desk(token)
        rows = [
            {
                "language": code,
                "t": self.texts[code],
                "url": flask.url_for("resume", token=token, language=code),
                **self._progress(desk, code),
            }
            for code in self.store.items
        ]
        return self._render("overview.html", browser_language(), person=desk.person, rows=rows)

    def resume(self, token: str, language: str):
        """Where the person stopped: the first item that is not done."""
        return flask.redirect(self._next_address(self._desk(token, language), token, language, 0))

    def finished(self, token: str, language: str):
        desk = self._desk(token, language)
        first = next((address(token, item) for item in desk.items(language)), None)
        return self._render(
            "finished.html",
            language,
            first=first,
            overview=flask.url_for("overview", token=token),
            **self._progress(desk, language),
        )

    def rationale(self, token: str, language: str, position: int):
        desk = self._desk(token, language)
        return self._show(desk, token, self._item(desk, language, position), incomplete=False)

    def answer(self, token: str, language: str, position: int):
        """Save; then JSON for the script, or for a browser without it the next page."""
        refuse_other_sites()
        desk = self._desk(token, language)
        item = self._item(desk, language, position)
        try:
            given = read_answer(flask.request.form, desk.asked(item))
        except ValueError as error:
            raise BadRequest(str(error)) from None
        self.store.save(item, desk.person, given)
        desk = Desk(self.store, desk.person)
        following = self._next_address(desk, token, language, position)
        if flask.request.accept_mimetypes.best == "application/json":
            return {"next": following, **self._progress(desk, language)}
        if desk.state(item) != "done":
            return self._show(desk, token, item, incomplete=True)
        return flask.redirect(following, code=303)

    def explain(self, error: HTTPException):
        """Any refusal, as a page in the browser's language."""
        if error.code is not None and error.code < 400:  # a redirect to the address with its final slash
            return error
        language = browser_language()
        token = (flask.request.view_args or {}).get("token")
        message = f"{error.code}: {error.description}"
        if error.code == 404:
            message = self.texts[language]["not_found" if token and self.store.person_of(token) else "no_link"]
        return self._render("message.html", language, message=message), error.code

    def _desk(self, token: str, language: str | None = None) -> Desk:
        """Errors: NotFound for an unknown token, and for a language that was not drawn."""
        person = self.store.person_of(token)
        if person is None or (language is not None and language not in self.store.items):
            raise NotFound
        return Desk(self.store, person)

    def _item(self, desk: Desk, language: str, position: int) -> Item:
        item = desk.item(language, position)
        if item is None:
            raise NotFound
        return item

    def _progress(self, desk: Desk, language: str) -> dict:
        done, total = desk.done(language), len(desk.items(language))
        words = self.texts[language]["settled" if desk.is_referee else "judged"]
        return {"done": done, "total": total, "progress": words.format(done=done, total=total)}

    def _next_address(self, desk: Desk, token: str, language: str, after: int) -> str:
        item = desk.next_open(language, after)
        return address(token, item) if item else flask.url_for("finished", token=token, language=language)

    def _show(self, desk: Desk, token: str, item: Item, incomplete: bool) -> str:
        t, items = self.texts[item.language], desk.items(item.language)
        at, own = items.index(item), desk.own.get(item.id, Answer())
        return self._render(
            "rationale.html",
            item.language,
            person=desk.person,
            item=item,
            record=item.record,
            right=answer_letters(item.record),
            answer=own,
            criteria=desk.criteria(item, t),
            notes=desk.notes(item, t),
            place=t["number"].format(number=at + 1, total=len(items)),
            numbers=[(n, address(token, other), desk.state(other)) for n, other in enumerate(items, start=1)],
            number=at + 1,
            previous=address(token, items[at - 1]) if at else None,
            next=address(token, items[at + 1]) if at + 1 < len(items) else None,
            own=address(token, item),
            overview=flask.url_for("overview", token=token),
            incomplete=incomplete,
            saved=own != Answer(),
            note_characters=NOTE_CHARACTERS,
            **self._progress(desk, item.language),
        )

    def _render(self, template: str, language: str, **values) -> str:
        return flask.render_template(template, language=language, t=self.texts[language], **values)


def address(token: str, item: Item) -> str:
    return flask.url_for("rationale", token=token, language=item.language, position=item.position)


def browser_language() -> str:
    return flask.request.accept_languages.best_match(list(LANGUAGE_FILES)) or "en"


def add_headers(response: flask.Response) -> flask.Response:
    response.headers.update(HEADERS)
    return response


def refuse_other_sites() -> None:
    """Reject cross-site requests, in addition to the secret address. Errors: Forbidden."""
    if flask.request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden("the request comes from another site")
    origin = flask.request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != flask.request.host:
        raise Forbidden("the request comes from another site")
