"""Conversion against the published equations, written here in plain torch and with the published names."""

import io
import json
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import convert_internlm
from run_record import InputError, read_json

HIDDEN, INTERMEDIATE, LAYERS, HEADS, KEY_VALUE_HEADS, POSITIONS, VOCABULARY = 32, 48, 2, 8, 2, 48, 448
HEAD = HIDDEN // HEADS
COMMON = {
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "vocab_size": VOCABULARY,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "float32",
    "tie_word_embeddings": False,
}
CONFIGS = {
    "internlm": {"model_type": "internlm", "bias": True, "rotary": {"base": 10000, "type": "dynamic"}},
    "internlm2": {
        "model_type": "internlm2",
        "bias": False,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "rope_theta": 1000000,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "auto_map": {"AutoConfig": "configuration_internlm2.C"},
    },
}


def random_tensors(layout: str) -> dict[str, torch.Tensor]:
    """A checkpoint's tensors, by the published names and shapes."""
    key_value = KEY_VALUE_HEADS * HEAD
    if layout == "internlm2":
        outside = ("model.tok_embeddings", "output")
        inside = {
            "attention.wqkv": (HIDDEN + 2 * key_value, HIDDEN),
            "attention.wo": (HIDDEN, HIDDEN),
            "feed_forward.w1": (INTERMEDIATE, HIDDEN),
            "feed_forward.w2": (HIDDEN, INTERMEDIATE),
            "feed_forward.w3": (INTERMEDIATE, HIDDEN),
            "attention_norm": (HIDDEN,),
            "ffn_norm": (HIDDEN,),
        }
    else:
        outside = ("model.embed_tokens", "lm_head")
        inside = {f"self_attn.{part}_proj": (HIDDEN, HIDDEN) for part in "qkvo"}
        inside |= {"mlp.gate_proj": (INTERMEDIATE, HIDDEN), "mlp.up_proj": (INTERMEDIATE, HIDDEN)}
        inside |= {"mlp.down_proj": (HIDDEN, INTERMEDIATE)}
        inside |= {"input_layernorm": (HIDDEN,), "post_attention_layernorm": (HIDDEN,)}
    shapes = {f"{name}.weight": (VOCABULARY, HIDDEN) for name in outside} | {"model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        for name, shape in inside.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
            if layout == "internlm" and "self_attn" in name:
                shapes[f"model.layers.{layer}.{name}.bias"] = shape[:1]
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}


def norm(x, weight):
    return weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + COMMON["rms_norm_eps"])


def rotate(x, base: float, factor: float):
    """x: [length, heads, HEAD]. Rotary embedding over halves, the base grown by dynamic NTK beyond POSITIONS."""
    length = x.shape[0]
    if length > POSITIONS:
        base *= (factor * length / POSITIONS - (factor - 1)) ** (HEAD / (HEAD - 2))
    angles = torch.outer(torch.arange(length).float(), base ** -(torch.arange(0, HEAD, 2).float() / HEAD))
    cos, sin = (torch.cat((f, f), dim=-1)[:, None] for f in (angles.cos(), angles.sin()))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def attend(q, k, v):
    """q: [length, heads, HEAD]; k, v: [length, key-value heads, HEAD]. Causal attention, a key head a group."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("qhd,khd->hqk", q, k) / HEAD**0.5
    mask = torch.ones(len(q), len(q), dtype=torch.bool).tril()
    return torch.einsum("hqk,khd->qhd", scores.masked_fill(~mask, float("-inf")).softmax(-1), v).flatten(1)


def published_logits(layout: str, t: dict[str, torch.Tensor], ids: list[int]) -> torch.Tensor:
    """[length, VOCABULARY] by the published equations, from tensors under the published names."""
    two = layout == "internlm2"
    x = t["model.tok_embeddings.weight" if two else "model.embed_tokens.weight"][ids]
    for layer in range(LAYERS):
        w = {k.removeprefix(f"model.layers.{layer}."): v for k, v in t.items() if f"layers.{layer}." in k}

        def linear(name, x, w=w):
            return torch.nn.functional.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))

        h = norm(x, w["attention_norm.weight" if two else "input_layernorm.weight"])
        if two:
            # [length, key-value heads, (query heads of the group, key, value), HEAD]
            fused = linear("attention.wqkv", h).view(len(ids), KEY_VALUE_HEADS, HEADS // KEY_VALUE_HEADS + 2, HEAD)
            q, k, v = fused[:, :, :-2].flatten(1, 2), fused[:, :, -2], fused[:, :, -1]
            base, factor = 1e6, 2.0
        else:
            q, k, v = (linear(f"self_attn.{part}_proj", h).view(len(ids), HEADS, HEAD) for part in "qkv")
            base, factor = 1e4, 1.0
        mixed = attend(rotate(q, base, factor), rotate(k, base, factor), v)
        x = x + linear("attention.wo" if two else "self_attn.o_proj", mixed)
        h = norm(x, w["ffn_norm.weight" if two else "post_attention_layernorm.weight"])
        gate, up, down = (
            [f"feed_forward.{n}" for n in ("w1", "w3", "w2")]
            if two
            else [f"mlp.{n}_proj" for n in ("gate", "up", "down")]
        )
        x = x + linear(down, torch.nn.functional.silu(linear(gate, h)) * linear(up, h))
    return norm(x, t["model.norm.weight"]) @ t["output.weight" if two else "lm_head.weight"].T


def write_tokenizer(folder: Path, dummy_prefix: bool, user_defined: list[str], settings: dict, **options) -> None:
    """A sentencepiece BPE model of 420 pieces with byte fallback as InternLM's, and tokenizer_config.json.

    As in InternLM 2 its last pieces are placeholders: normal pieces that no merge makes.
    """
    from sentencepiece import SentencePieceTrainer, sentencepiece_model_pb2

    words = [
        "fever",
        "cough",
        "heart",
        "liver",
        "patient",
        "dose",
        "fièvre",
        "toux",
        "лихорадка",
        "кашель",
        "发热咳嗽",
        "blood",
        "pressure",
    ]
    draw, model = random.Random(0), io.BytesIO()
    text = [" ".join(draw.choices(words, k=20)) for _ in range(300)]
    rules = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    SentencePieceTrainer.train(
        sentence_iterator=iter(text),
        model_writer=model,
        vocab_size=418,
        model_type="bpe",
        split_digits=True,
        add_dummy_prefix=dummy_prefix,
        user_defined_symbols=user_defined,
        minloglevel=2,
        **rules | options,
    )
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    for number in (145, 146):
        proto.pieces.add(piece=f"[UNUSED_TOKEN_{number}]", score=-1000, type=1)
    (folder / "tokenizer.model").write_bytes(proto.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_published(folder: Path, layout: str) -> Path:
    """A folder as published: InternLM 2 as two safetensors shards with an index, InternLM as one pickle."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(COMMON | CONFIGS[layout]))
    tensors = random_tensors(layout)
    if layout == "internlm2":
        names = sorted(tensors)
        shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
        for file, inside in shards.items():
            save_file({name: tensors[name] for name in inside}, folder / file)
        index = {"weight_map": {name: file for file, inside in shards.items() for name in inside}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        added = {"418": {"content": "<|im_end|>", "special": True}, "419": {"content": "<|im_start|>", "special": True}}
        write_tokenizer(folder, False, [], {"added_tokens_decoder": added, "chat_template": "{{ messages }}"})
        (folder / "configuration_internlm2.py").write_text("C = None\n")
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 418]}))
    else:
        frequencies = 10000.0 ** -(torch.arange(0, HEAD, 2).float() / HEAD)
        stored = tensors | {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": frequencies for i in range(LAYERS)}
        torch.save(stored, folder / "pytorch_model.bin")
        write_tokenizer(folder, True, ["<eoh>", "<eoa>", "\n\n"], {})
    return folder


@pytest.fixture(scope="module", params=["internlm", "internlm2"])
def converted(request, tmp_path_factory) -> tuple[str, Path, Path]:
    """(layout, published folder, Llama folder): read only."""
    folder = tmp_path_factory.mktemp(request.param)
    published = write_published(folder / "published", request.param)
    argv = [str(published), "--out", str(folder / "llama"), "--shard-gigabytes", "0.00005"]
    assert convert_internlm.main(argv) == 0
    return request.param, published, folder / "llama"


@pytest.fixture
def published(tmp_path) -> Path:
    """A published InternLM 2 folder to damage, weights in one file."""
    folder = write_published(tmp_path / "published", "internlm2")
    (folder / "model.safetensors.index.json").unlink()
    for path in folder.glob("model-*.safetensors"):
        path.unlink()
    save_file(random_tensors("internlm2"), folder / "model.safetensors")
    return folder


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


@pytest.mark.parametrize("length", [1, 40, 90], ids=["one token", "within the limit", "beyond it, by dynamic NTK"])
def test_the_library_s_llama_computes_the_published_equations(converted, length):
    from transformers import AutoModelForCausalLM

    layout, _, llama = converted
    model = AutoModelForCausalLM.from_pretrained(llama)
    ids = torch.randint(VOCABULARY, (length,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
    assert (logits - published_logits(layout, random_tensors(layout), ids.tolist())).abs().max() < 1e-5


def test_the_converted_folder_is_whole_and_says_where_it_comes_from(converted):
    layout, _, llama = converted
    files = {path.name for path in llama.iterdir()}
    shards = {name for name in files if name.endswith(".safetensors")}
    assert len(shards) > 2 and {"config.json", "tokenizer.json", "tokenizer_config.json", "run.json"} <= files
    assert not any(name.endswith((".py", ".bin", ".model")) or name.startswith(".") for name in files)
    record, config = read_json(llama / "run.json"), read_json(llama / "config.json")
    assert config["model_type"] == "llama" and "auto_map" not in config
    assert record["layout"] == {"from": layout, "to": "llama"}
    assert set(record["files"]) == files - {"run.json"}
    assert not (llama.with_name("llama.partial")).exists()
    if layout == "internlm2":
        assert read_json(llama / "generation_config.json") == {"eos_token_id": [2, 418]}


def test_the_tokenizer_as_the_other_commands_load_it_gives_the_published_ids(converted):
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoTokenizer

    layout, published, llama = converted
    tokenizer = AutoTokenizer.from_pretrained(llama)
    published_tokenizer = SentencePieceProcessor(model_file=str(published / "tokenizer.model"))
    for text in ("fever  cough", " лихорадка 5 mg", "発熱\n\n咳嗽", "💊 <eoh> after", "\n\n<eoa>x"):
        ids = tokenizer(text)["input_ids"]
        assert ids == [1, *published_tokenizer.encode(text)], text
        assert tokenizer.decode(ids[1:], clean_up_tokenization_spaces=False) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    if layout == "internlm2":
        assert tokenizer("<|im_start|>fever<|im_end|>", add_special_tokens=False)["input_ids"][::2][:1] == [419]
        assert tokenizer.convert_tokens_to_ids("<|im_end|>") == 418 and tokenizer.chat_template == "{{ messages }}"


def test_a_corpus_is_tokenised_with_it_and_the_store_knows_it_again(converted, corpus, tmp_path):
    import tokenize_corpus
    import train_lm

    layout, _, llama = converted
    store = tmp_path / "tokens"
    assert tokenize_corpus.main([str(corpus), "--tokenizer", str(llama), "--out", str(store)]) == 0
    fingerprint = tokenize_corpus.tokenizer_fingerprint(tokenize_corpus.load_tokenizer(str(llama)))
    assert read_json(store / "manifest.json")["inputs"]["tokenizer"] == fingerprint
    if layout == "internlm2":  # its recipe plans a run on the folder
        recipe = Path(convert_internlm.__file__).parent / "recipes/internlm2_7b.yaml"
        small = ["--sequence-length", "32", "--global-batch-size", "8", "--out", str(tmp_path / "out"), "--dry-run"]
        assert train_lm.main([str(store), "--recipe", str(recipe), "--model", str(llama), *small]) == 0
        assert not (tmp_path / "out").exists()


def test_converted_back_every_tensor_is_bit_equal_and_forth_again_too(converted, tmp_path):
    layout, published, llama = converted
    back = ["--to", layout, "--published", str(published), "--out", str(tmp_path / "back")]
    assert convert_internlm.main([str(llama), *back]) == 0
    had, wanted = all_tensors(tmp_path / "back"), random_tensors(layout)
    assert set(had) == set(wanted) and all(torch.equal(had[name], wanted[name]) for name in wanted)
    assert read_json(tmp_path / "back/config.json") == read_json(published / "config.json")
    assert (tmp_path / "back/tokenizer.model").read_bytes() == (published / "tokenizer.model").read_bytes()
    assert (tmp_path / "back/configuration_internlm2.py").exists() == (layout == "internlm2")
    assert convert_internlm.main([str(tmp_path / "back"), "--out", str(tmp_path / "forth")]) == 0
    had, wanted = all_tensors(tmp_path / "forth"), all_tensors(llama)
    assert set(had) == set(wanted) and all(torch.equal(had[name], wanted[name]) for name in wanted)


def test_a_llama_folder_with_pickles_and_tokenizer_model_alone_becomes_one_that_loads_exactly(tmp_path):
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    old = tmp_path / "old"
    model = AutoModelForCausalLM.from_config(LlamaConfig(**COMMON, num_key_value_heads=2))
    model.config.save_pretrained(old)
    torch.save(model.state_dict(), old / "pytorch_model.bin")
    settings = {"bos_token": "", "eos_token": "", "unk_token": "", "tokenizer_class": "LLaMATokenizer"}
    write_tokenizer(old, True, [], settings)
    (old / "added_tokens.json").write_text(json.dumps({"[PAD]": 420}))
    assert convert_internlm.main([str(old), "--out", str(tmp_path / "new")]) == 0
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "new")
    text = " two  spaces, лихорадка"
    ids = SentencePieceProcessor(model_file=str(old / "tokenizer.model")).encode(text)
    assert tokenizer(text)["input_ids"] == [1, *ids] and tokenizer.convert_tokens_to_ids("[PAD]") == 420
    with torch.no_grad():
        new = AutoModelForCausalLM.from_pretrained(tmp_path / "new")
        assert torch.equal(new(torch.tensor([ids])).logits, model.eval()(torch.tensor([ids])).logits)


def test_biases_of_a_fused_matrix_are_split_like_its_rows(published, tmp_path):
    tensors = random_tensors("internlm2")
    for layer in range(LAYERS):
        for name in ("wqkv", "wo"):
            rows = len(tensors[f"model.layers.{layer}.attention.{name}.weight"])
            tensors[f"model.layers.{layer}.attention.{name}.bias"] = torch.arange(rows).float() / 100
    save_file(tensors, published / "model.safetensors")
    change_config(published, bias=True)
    assert convert_internlm.main([str(published), "--out", str(tmp_path / "llama")]) == 0
    from transformers import AutoModelForCausalLM

    ids = list(range(20))
    with torch.no_grad():
        logits = AutoModelForCausalLM.from_pretrained(tmp_path / "llama")(torch.tensor([ids])).logits[0]
    assert (logits - published_logits("internlm2", tensors, ids)).abs().max() < 1e-5


def change_config(folder: Path, **fields) -> None:
    (folder / "config.json").write_text(json.dumps(read_json(folder / "config.json") | fields))


def change_tensors(folder: Path, remove: str = "", **changed) -> None:
    tensors = random_tensors("internlm2") | {name.replace("__", "."): tensor for name, tensor in changed.items()}
    save_file({name: tensor for name, tensor in tensors.items() if name != remove}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda f: change_tensors(f, remove="model.norm.weight"), r"1 tensors are missing, first model\.norm\.weight"),
        (lambda f: change_tensors(f, v_head=torch.zeros(3)), r"does not know, first v_head"),
        (lambda f: change_tensors(f, output__weight=torch.zeros(3, 3)), r"output\.weight is \[3, 3\].*\[448, 32\]"),
        (lambda f: change_tensors(f, output__weight=torch.zeros(448, 32).half()), "several types"),
        (lambda f: change_config(f, hidden_act="gelu"), r"config\.json: hidden_act must be silu"),
        (lambda f: change_config(f, bias=True), "bias is True, but the weights lack biases"),
        (lambda f: change_config(f, rope_scaling={"type": "yarn", "factor": 2}), "of type 'yarn'"),
        (lambda f: change_config(f, model_type="internlm3"), "a internlm3 model"),
        (lambda f: change_config(f, model_type="internlm"), "has as many key-value heads as heads"),
        (lambda f: change_config(f, vocab_size=None), "vocab_size must be there"),
        (lambda f: change_config(f, pad_token_id="none"), r"config\.json: .*pad_token_id"),
        (lambda f: (f / "config.json").unlink(), r"config\.json is missing"),
        (lambda f: (f / "model.safetensors").unlink(), "contains no weights"),
        (lambda f: (f / "model.safetensors").write_bytes(b"<html>"), r"model\.safetensors: no safetensors file"),
        (lambda f: (f / "tokenizer.model").unlink(), r"tokenizer\.model is missing; download it"),
        (lambda f: (f / "tokenizer.model").write_bytes(b"<html>"), "no sentencepiece model"),
    ],
)
def test_a_bad_checkpoint_ends_in_a_sentence_and_nothing_is_written(published, tmp_path, damage, sentence):
    damage(published)
    with pytest.raises(InputError, match=sentence):
        convert_internlm.main([str(published), "--out", str(tmp_path / "llama")])
    assert not (tmp_path / "llama").exists()


def test_an_index_that_names_a_missing_shard_is_refused(tmp_path):
    folder = write_published(tmp_path / "published", "internlm2")
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(InputError, match=r"index\.json: names \['model-2\.safetensors'\]"):
        convert_internlm.main([str(folder), "--out", str(tmp_path / "llama")])


class RunsCode:
    def __reduce__(self):
        return print, ("code ran",)


def test_a_pickle_that_would_run_code_is_refused_unread(published, tmp_path, capsys):
    (published / "model.safetensors").unlink()
    torch.save({"model.norm.weight": RunsCode()}, published / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin: refused"):
        convert_internlm.main([str(published), "--out", str(tmp_path / "llama")])
    assert "code ran" not in capsys.readouterr().out


def test_stored_frequencies_that_the_configuration_does_not_give_are_refused(tmp_path):
    folder = write_published(tmp_path / "published", "internlm")
    change_config(folder, rotary={"base": 500000, "type": "dynamic"})
    with pytest.raises(InputError, match=r"inv_freq is not what config\.json's rotary base gives"):
        convert_internlm.main([str(folder), "--out", str(tmp_path / "llama")])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"normalization_rule_name": "nmt_nfkc"}, "it rewrites characters"),
        ({"remove_extra_whitespaces": True}, "it removes spaces"),
        ({"treat_whitespace_as_suffix": True}, "behind a word"),
    ],
)
def test_a_tokenizer_that_cannot_be_converted_exactly_is_refused(published, tmp_path, options, reason):
    write_tokenizer(published, False, [], {}, **options)
    with pytest.raises(InputError, match=reason):
        convert_internlm.main([str(published), "--out", str(tmp_path / "llama")])


def test_a_tokenizer_with_other_ids_is_found_by_the_proof(converted, tmp_path):
    from transformers import AutoTokenizer

    from internlm.internlm_tokenizer import prove_tokenizer

    _, published, llama = converted
    tokenizer = AutoTokenizer.from_pretrained(llama)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][::-1]
    tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer).from_str(json.dumps(state)).model
    with pytest.raises(InputError, match="the converted tokenizer differs on"):
        prove_tokenizer(tokenizer, published)


def test_a_finished_folder_is_reused_and_no_other_is_overwritten(converted, tmp_path, capsys):
    _, published, llama = converted
    same = [str(published), "--out", str(llama), "--shard-gigabytes"]
    before = read_json(llama / "run.json")
    assert convert_internlm.main([*same, "0.00005"]) == 0 and "is reused" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"different arguments \(shard_gigabytes\)"):
        convert_internlm.main([*same, "1"])
    assert read_json(llama / "run.json") == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(InputError, match="contains something else"):
        convert_internlm.main([str(published), "--out", str(tmp_path / "full")])


def test_what_a_killed_run_left_is_cleared_and_a_living_run_is_not_disturbed(published, tmp_path):
    import fcntl

    partial = tmp_path / "llama.partial"
    partial.mkdir()
    (partial / "model-00009-of-00009.safetensors").write_bytes(b"half")
    with open(partial / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another run is writing"):
            convert_internlm.main([str(published), "--out", str(tmp_path / "llama")])
    assert convert_internlm.main([str(published), "--out", str(tmp_path / "llama")]) == 0
    assert [path.name for path in (tmp_path / "llama").glob("*.safetensors")] == ["model.safetensors"]


def test_a_dry_run_proves_the_tokenizer_and_writes_nothing(published, tmp_path, capsys):
    assert convert_internlm.main([str(published), "--out", str(tmp_path / "llama"), "--dry-run"]) == 0
    assert "equal to tokenizer.model on" in capsys.readouterr().out
    assert not list(tmp_path.glob("llama*"))


def test_the_way_back_needs_the_same_model_s_published_folder(converted, tmp_path):
    layout, published, llama = converted
    out = ["--out", str(tmp_path / "back")]
    with pytest.raises(InputError, match="needs --published"):
        convert_internlm.main([str(llama), "--to", layout, *out])
    with pytest.raises(InputError, match=f"is a {layout} model; --to"):
        convert_internlm.main([str(published), "--to", layout, "--published", str(published), *out])
    with pytest.raises(InputError, match=r"is a llama model with a tokenizer\.json: it needs no conversion"):
        convert_internlm.main([str(llama), *out])
    other = tmp_path / "other"
    shutil.copytree(published, other)
    change_config(other, rms_norm_eps=1e-6)
    with pytest.raises(InputError, match="different models: rms_norm_eps differ"):
        convert_internlm.main([str(llama), "--to", layout, "--published", str(other), *out])
    half = tmp_path / "half"
    shutil.copytree(llama, half)
    back = [str(half), "--to", layout, "--published", str(published), *out]
    (half / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="tokenizer"):
        convert_internlm.main(back)
    change_config(half, hidden_size="wide")
    with pytest.raises(InputError, match=r"half/config\.json: .*hidden_size"):
        convert_internlm.main(back)
    (half / "run.json").unlink()
    (half / "training").mkdir()
    with pytest.raises(InputError, match="is incomplete"):
        convert_internlm.main(back)
