"""What one person has to do, may see, and has done: the only view of a review that the page gets.

desk = Desk(store, person)
desk.next_open("zh", after=0)
"""

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
        """A reviewer's: all. The referee's: those that both have judged, and not alike."""
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
        """The first item that is not done after this position, then from the start; the item itself left out."""
        items = self.items(language)
        turned = [item for item in items if item.position > after] + [item for item in items if item.position < after]
        return next((item for item in turned if self.state(item) != "done"), None)

    def said(self, item: Item) -> list[Answer]:
        """What the two reviewers say of it: for the referee alone, nothing for anyone else."""
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
