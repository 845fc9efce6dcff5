"""What the data flags of train_lm.py open, and the plan that is printed of it."""

import pytest

from dataloading.lm_data import open_training_data, plan_lines
from run_record import InputError
from training.lm_arguments import build_parser


@pytest.fixture(scope="module")
def folders(make_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    make_store(folder / "corpus", {"en": [30] * 40, "fr/web": [20] * 30, "fr/textbook": [25] * 20})
    make_store(folder / "general", {"en": [40] * 30})
    make_store(folder / "foreign", {"en": [40] * 30}, tokenizer="another")
    (folder / "weights.yaml").write_text("en: 1\nfr/textbook: 2\nfr: 1\n")
    return folder


@pytest.fixture
def open_with(folders):
    def open_with(*flags: str):
        command = [str(folders / "corpus"), "--sequence-length", "16", "--validation-documents", "2", *flags]
        command = [flag.replace("DIR", str(folders)) for flag in command]
        return open_training_data(build_parser("").parse_args(command))

    return open_with


def shares(data, windows=5000) -> dict[str, float]:
    return {n: round(d / windows, 3) for n, d in zip(data.windows.names, data.windows.drawn(windows), strict=True)}


def test_the_natural_mixture_reads_every_token_once(open_with):
    data = open_with()
    tokens = 30 * 38 + 20 * 28 + 25 * 18
    assert data.windows.per_epoch == (tokens - 1) // 16
    assert set(data.held_out) == {"en/web", "fr/textbook", "fr/web"} and set(data.inputs) == {"tokens"}
    lines = plan_lines(data, 2 * data.windows.per_epoch)
    assert "no padding; attention stays inside a document" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["en/web", "fr/textbook", "fr/web"]
    assert all("2.00 epochs" in line for line in lines[1:])
    assert f"{100 * 30 * 38 / tokens:.1f} % of the tokens" in lines[1]


def test_weights_and_temperature_set_the_shares_and_are_part_of_the_run(open_with):
    data = open_with("--mix", "DIR/weights.yaml")
    assert shares(data) == {"en": 0.25, "fr/textbook": 0.5, "fr": 0.25}
    assert data.inputs["mix"] == {"en": 0.25, "fr/textbook": 0.5, "fr": 0.25}
    even = shares(open_with("--mix", "temperature", "--mix-temperature", "1000"))
    assert set(even.values()) <= {0.333, 0.334}
    natural = shares(open_with("--mix", "temperature", "--mix-temperature", "1"))
    assert natural["en/web"] == pytest.approx(30 * 38 / (30 * 38 + 20 * 28 + 25 * 18), abs=1e-3)


def test_the_plan_warns_of_text_that_is_read_too_often(open_with):
    data = open_with("--mix", "DIR/weights.yaml")
    lines = plan_lines(data, 300)
    textbook = next(line for line in lines if "fr/textbook" in line)
    assert "49.7 % of the tokens" in textbook and "2,411 tokens to see, 5.36 epochs" in textbook
    assert textbook.endswith("warning: over 4 epochs")
    assert not any("warning" in line for line in lines if "fr/textbook" not in line)


def test_replay_is_mixed_in_by_its_share_and_has_a_held_out_set(open_with):
    data = open_with("--replay", "DIR/general", "--replay-share", "0.2")
    assert shares(data) == {"corpus": 0.8, "replay": 0.2}
    store, documents = data.held_out["replay"]
    assert store.folder.name == "general" and len(documents) == 2
    assert any(name.startswith("replay:en/web/part-00000:") for name in data.windows.documents(0, 10))
    # An epoch is one of the corpus.
    drawn = data.windows.drawn(data.windows.per_epoch)
    assert drawn[0] == pytest.approx(data.windows.parts[0].per_epoch, abs=1)
    assert shares(open_with("--replay", "DIR/general", "--mix", "DIR/weights.yaml"))["replay"] == 0.05
    assert data.inputs["replay"] != data.inputs["tokens"]


@pytest.mark.parametrize("rows", ["packed", "document", "overlapping"])
def test_every_layout_can_be_mixed(open_with, rows):
    data = open_with("--rows", rows, "--mix", "DIR/weights.yaml", "--replay", "DIR/general")
    batch = data.windows.batch(0, 40)
    assert data.windows.labels_in(0, 40) == (batch["labels"] != -100).sum() > 0
    assert 0 < data.windows.useful_tokens(0, 40) <= data.windows.labels_in(0, 40)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--replay", "DIR/foreign"], "made with another tokenizer than .*corpus; run .* --tokenizer"),
        (["--replay", "DIR/general", "--replay-share", "1"], "--replay-share 1.0 is not between 0 and 1"),
        (["--replay", "DIR/general", "--replay-share", "0"], "--replay-share 0.0 is not between 0 and 1"),
        (["--replay-share", "0.1"], "--replay-share needs --replay"),
        (["--replay", "DIR/nothing"], "no token store, or one incomplete"),
        (["--validation-documents", "-1"], "--validation-documents -1 is below 0"),
        (["--mix-temperature", "3"], "no effect with --mix natural"),
        (["--mix", "temperature", "--mix-temperature", "0"], "--mix-temperature 0.0 is not over 0"),
        (["--mix", "DIR/nothing.yaml"], "natural, temperature, or a YAML file"),
        (["--sequence-length", "5000"], "en/web, fr/textbook, fr/web of .* fewer than one window of 5001"),
        (["--sequence-length", "500", "--mix", "temperature"], "fr/textbook of .* fewer than one window of 501"),
    ],
)
def test_data_that_cannot_be_ends_in_a_sentence(open_with, flags, message):
    with pytest.raises(InputError, match=message):
        open_with(*flags)
