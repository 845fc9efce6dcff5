"""Upload a finished corpus to a data set repository on the Hugging Face hub.

The token comes from the environment (HF_TOKEN) and from nowhere else. All files go in one commit, so that the hub never
shows half a corpus; what an interrupted upload has sent is not sent again by the same command. HF_ENDPOINT works as
everywhere. Example:

    HF_TOKEN=... python data_collection/build_corpus.py data/filtered data/ocr --out data/MMedC --upload me/MMedC
"""

import os
from pathlib import Path

from readers.corpus_format import SHARD_NAME
from run_record import InputError

DATA = (".parquet", ".jsonl", ".png")  # files of these kinds that a corpus lacks are deleted in its repository
OWN_FILES = ("removed.jsonl", "cut.jsonl", "corpus.png")


def upload_token() -> str:
    """The token from the environment. Errors: InputError where there is none."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise InputError("--upload needs a token that may write to the repository: set HF_TOKEN in the environment")
    return token


def foreign_data(names: list[str]) -> str:
    """The first file of a repository that an upload would delete and no corpus has; "" where there is none."""
    return next(
        (
            name
            for name in sorted(names)
            if name.endswith(DATA) and not SHARD_NAME.match(name) and name not in OWN_FILES
        ),
        "",
    )


def upload_corpus(folder: Path, manifest: dict, repository: str, private: bool) -> str:
    """Upload the files that the manifest names, and the manifest; returns the commit's address.

    private: for a repository that has to be made. Errors: InputError for a repository that cannot be written, and where
    the hub does not answer.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi(token=upload_token())
    try:
        api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        there = api.repo_info(repository, repo_type="dataset")
        if strange := foreign_data([file.rfilename for file in there.siblings or ()]):
            raise InputError(
                f"--upload {repository}: it holds data of another making ({strange}), which would be "
                "deleted; give another repository, or remove it there first"
            )
        if private and not there.private:
            raise InputError(
                f"--upload {repository} --private: it is there already, and public; make it private on "
                "the hub, or give another name"
            )
        # Also of an older corpus there: what this one has not is deleted, else both would be read as one.
        done = api.upload_folder(
            repo_id=repository,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[*manifest["files"], "manifest.json"],
            delete_patterns=[f"*{suffix}" for suffix in DATA],
            commit_message="Corpus made by data_collection/build_corpus.py",
        )
    except errors.HFValidationError as error:
        raise InputError(f"--upload {repository}: {error}") from None
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"--upload {repository}: not done ({reason}); the corpus in {folder} is whole, and the same "
            "command sends what is missing"
        ) from None
    return str(done.commit_url)
