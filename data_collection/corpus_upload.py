"""Upload a finished corpus to a data set repository of the Hugging Face hub.

The token comes from the environment (HF_TOKEN) and from nowhere else. All files go in one commit, so that the hub never
shows half a corpus; what an interrupted upload has sent is not sent again by the same command. HF_ENDPOINT works as
everywhere. Example:

    HF_TOKEN=... python data_collection/build_corpus.py data/filtered data/ocr --out data/MMedC --upload me/MMedC
"""

import os
from pathlib import Path

from corpus_record import InputError


def upload_token() -> str:
    """The token from the environment. Errors: InputError where there is none."""
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise InputError("--upload needs a token that may write to the repository: set HF_TOKEN in the environment")
    return token


def upload_corpus(folder: Path, manifest: dict, repository: str, private: bool) -> str:
    """Upload the files that the manifest names, and the manifest; returns the commit's address.

    private: for a repository that has to be made. Errors: InputError for a repository that cannot be written, and where
    the hub does not answer.
    """
    from huggingface_hub import HfApi, errors

    api = HfApi(token=upload_token())
    try:
        api.create_repo(repository, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.repo_info(repository, repo_type="dataset").private:
            raise InputError(f"--upload {repository} --private: it is there already, and public; make it private on "
                             "the hub, or give another name")
        # Also of an older corpus there: what this one has not is deleted, else both would be read as one.
        done = api.upload_folder(
            repo_id=repository, repo_type="dataset", folder_path=folder,
            allow_patterns=[*manifest["files"], "manifest.json"], delete_patterns=["*.parquet", "*.jsonl", "*.png"],
            commit_message="Corpus made by data_collection/build_corpus.py")
    except errors.HFValidationError as error:
        raise InputError(f"--upload {repository}: {error}") from None
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"--upload {repository}: not done ({reason}); the corpus in {folder} is whole, and the same "
                         "command sends what is missing") from None
    return str(done.commit_url)
