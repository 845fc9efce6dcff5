"""How questions and conversations become tokens without a chat template: the plain form, ours.

An encoding has two methods, `question` and `conversation`. Both give exchanges, a list of (before, completion): the
token ids that are read, and those that are learned. An encoding through a model's chat template has the same two.

A conversation in the plain form, the loss on what stands in ⟦⟧, <end> being the tokenizer's end token:

    system text

    ### Instruction:
    the user's turn

    ### Response:
    ⟦the assistant's turn<end>⟧
"""

from prompt_file import Prompt, encode_completion, encode_prompt, end_token

Exchange = tuple[list[int], list[int]]


class ExampleText:
    """The prompt folder's text for questions, the form above for conversations."""

    def __init__(self, tokenizer, prompt: Prompt):
        self.tokenizer, self.prompt = tokenizer, prompt
        self.end = end_token(tokenizer, prompt.chat_template)

    def question(self, record: dict, form: str) -> list[Exchange]:
        """One exchange. Errors: PromptError when the prompt does not fit the record."""
        before = encode_prompt(self.tokenizer, self.prompt.render(record, form), self.prompt.chat_template)
        return [(before, self._learned(self.prompt.target(record, form)))]

    def conversation(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        """An exchange for each turn of the assistant; turns are (role, text), role system, user or assistant."""
        exchanges, waiting = [], ""
        for role, text in turns:
            if role == "assistant":
                # Only the first text opens with the tokenizer's own opening token.
                encode = encode_completion if exchanges else encode_prompt
                exchanges.append((encode(self.tokenizer, waiting + "### Response:\n"), self._learned(text)))
                waiting = ""
            else:
                waiting += f"{text}\n\n" if role == "system" else f"### Instruction:\n{text}\n\n"
        return exchanges

    def _learned(self, text: str) -> list[int]:
        return [*encode_completion(self.tokenizer, text), self.end]
