"""How questions and conversations become tokens: exchanges, a list of (before, completion).

`before` are the token ids that are read, `completion` those that are learned. Where the prompt folder says
chat_template, both go through the tokenizer's own template. Elsewhere a conversation has our plain form, the loss on
what stands in ⟦⟧, <end> being the tokenizer's end token:

    system text

    ### Instruction:
    the user's turn

    ### Response:
    ⟦the assistant's turn<end>⟧
"""

from prompt_folder import Prompt, encode_completion, encode_prompt, end_token, render_turns

Exchange = tuple[list[int], list[int]]


class ExampleText:
    """The prompt folder's text for questions, and the form for conversations that goes with it."""

    def __init__(self, tokenizer, prompt: Prompt):
        self.tokenizer, self.prompt = tokenizer, prompt
        self.end = end_token(tokenizer, prompt.chat_template)

    def question(self, record: dict, form: str) -> list[Exchange]:
        """One exchange. Errors: PromptError when the prompt does not fit the record."""
        before = encode_prompt(self.tokenizer, self.prompt.render(record, form), self.prompt.chat_template)
        return [(before, self._learned(self.prompt.target(record, form)))]

    def conversation(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        """An exchange for each turn of the assistant; turns are (role, text), role system, user or assistant.

        Errors: PromptError when the chat template refuses the turns.
        """
        return self._in_template(turns) if self.prompt.chat_template else self._plain(turns)

    def _plain(self, turns: list[tuple[str, str]]) -> list[Exchange]:
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

    def _in_template(self, turns: list[tuple[str, str]]) -> list[Exchange]:
        """What the template writes before an answer is what it adds to the text up to the answer before.

        A template that writes earlier turns anew as the chat goes on (some drop the thoughts in them) gives no such
        addition: the conversation ends there, because a model never sees its own earlier turns in both ways.
        """
        chat = [{"role": role, "content": text} for role, text in turns]
        exchanges, so_far, after_end = [], "", []
        for number, (role, text) in enumerate(turns):
            if role != "assistant":
                continue
            before = render_turns(self.tokenizer, chat[:number], open_answer=True)
            whole = render_turns(self.tokenizer, chat[: number + 1], open_answer=False)
            if not before.startswith(so_far) or not whole.startswith(before):
                if exchanges:
                    break
                whole = before
            ids = after_end + encode_completion(self.tokenizer, before[len(so_far) :])
            exchanges.append((ids, self._learned(text)))
            closing = encode_completion(self.tokenizer, whole[len(before) :].rpartition(text)[2])
            after_end = closing[closing.index(self.end) + 1 :] if self.end in closing else []
            so_far = whole
        return exchanges

    def _learned(self, text: str) -> list[int]:
        return [*encode_completion(self.tokenizer, text), self.end]
