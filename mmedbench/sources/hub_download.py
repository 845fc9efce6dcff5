"""The released benchmark from the Hugging Face hub, as it stands there: jsonl files, or a zip that holds them.

Files land in the hub's own cache (HF_HOME), so a second run downloads nothing; HF_ENDPOINT and HF_TOKEN work as
everywhere. A revision is a branch, a tag or a commit; the commit it stands for is written into the manifest.
"""

from pathlib import Path

from run_record import InputError
from sources.source_archives import DATA_SUFFIXES


def download(repository: str, revision: str) -> tuple[Path, str]:
    """(folder with the repository's data files, the commit they are of). Errors: InputError with what to do."""
    from huggingface_hub import errors, snapshot_download

    wanted = [f"*{suffix}" for suffix in (*DATA_SUFFIXES, ".zip")]
    try:
        folder = snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=wanted)
    except errors.GatedRepoError:
        raise InputError(f"--hub {repository} is gated: accept its terms on the hub and set HF_TOKEN") from None
    except errors.RevisionNotFoundError:
        raise InputError(f"--revision {revision}: --hub {repository} has no such branch, tag or commit") from None
    except errors.RepositoryNotFoundError:
        raise InputError(f"--hub {repository}: the hub has no such dataset, or HF_TOKEN may not see it") from None
    except errors.HFValidationError as error:
        raise InputError(f"--hub {repository}: {error}") from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"--hub {repository} cannot be downloaded ({reason}); look at the network, or download it "
            "elsewhere and give the folder or zip"
        ) from None
    # The hub's cache names a snapshot's folder by its commit.
    return Path(folder), Path(folder).name
