import os
import subprocess
import sys

import numpy as np
import pytest

import bench
from bench_helpers.bench_tokens import LARGEST, SMALLEST, read_sentences, write_documents
from bench_helpers.bench_training import cpu_seconds_of_tree, time_steps, useful_share
from run_record import InputError, read_json
from token_data.corpus_reader import iterate_texts, read_corpus


def test_generated_documents_have_log_uniform_lengths_and_are_the_seeds(tmp_path):
    corpora = [write_documents(read_sentences(None, 0), tmp_path / str(n), 4, seed) for n, seed in enumerate((0, 0, 1))]
    texts = [[text for shard in read_corpus(corpus) for text in iterate_texts(shard)] for corpus in corpora]
    assert texts[0] == texts[1] != texts[2]
    sizes = np.array([len(text.encode()) for text in texts[0]])
    assert sizes.min() >= SMALLEST and sizes.max() < LARGEST + 1000 and 4e6 <= sizes.sum() < 4.05e6
    # Of a log-uniform length, equally many lie below and above the geometric mean.
    assert abs((sizes < np.sqrt(SMALLEST * LARGEST)).mean() - 0.5) < 0.08


def test_generated_documents_are_made_of_the_corpus_sentences(corpus, tmp_path):
    sentences = read_sentences(corpus, 0)
    made = write_documents(sentences, tmp_path / "made", 0.05, 0)
    for shard in read_corpus(made):
        assert next(iterate_texts(shard)).startswith(tuple(sentences[shard.language]))


def test_steps_are_timed_between_their_lines_and_warm_up_is_left_out(tmp_path):
    script = (
        "import time\nfor n in range(1, 5):\n    time.sleep(0.6 if n < 3 else 0.05)\n"
        "    print(f'step {n}/4  loss 1', flush=True)\ntime.sleep(0.6)\n"
    )
    run = time_steps([sys.executable, "-c", script])
    assert run.steps == 2 and 0.1 <= run.seconds < 0.6


def test_a_side_that_fails_is_shown_with_its_last_lines():
    with pytest.raises(InputError, match="no such loop"):
        time_steps([sys.executable, "-c", "raise SystemExit('no such loop')"])


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")  # noqa: PTH110
def test_cpu_time_of_children_counts():
    script = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", script], start_new_session=True) as process:
        try:
            deadline = 200
            while cpu_seconds_of_tree(process.pid) < 0.3 and deadline:
                deadline -= 1
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.1)
            assert cpu_seconds_of_tree(process.pid) >= 0.3
        finally:
            os.killpg(process.pid, 9)


def test_packed_windows_are_useful_but_for_borders_and_the_published_ones_are_not(store_folder):
    packed, published = (useful_share(store_folder, 64, rows, 20, 0) for rows in ("packed", "overlapping"))
    assert published < packed < 1 and packed > 0.9


def test_the_table_of_tokenising_names_every_side_and_the_rounds_are_kept(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert bench.main(["tokenize", "--quick", "--rounds", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    figures = read_json(out)["figures"]
    assert len(figures["cpu_seconds"]) == 4
    assert all(len(seconds) == 2 and name in said for name, seconds in figures["cpu_seconds"].items())
    with pytest.raises(InputError, match="exists"):
        bench.main(["tokenize", "--quick", "--out", str(out)])


def test_reading_a_batch_is_set_against_a_step(corpus, tokenizer_folder, capsys):
    assert bench.main(["read", str(corpus), "--quick", "--tokenizer", str(tokenizer_folder)]) == 0
    assert "windows.batch" in capsys.readouterr().out


@pytest.mark.slow
def test_every_loop_runs_and_its_ratio_is_printed(tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert bench.main(["train", "--quick", "--steps", "3", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    ratios = read_json(out)["figures"]["ratios"]
    assert set(ratios) == {"published layout, same loop", "Hugging Face Trainer", "torch DDP, 2 ranks"}
    assert all(name in said and values[0] > 0 for name, values in ratios.items())
