"""Let two people judge rationales, blind to each other, on a local web page; a third settles disagreements.

Each answers two questions: Does the rationale support the given answer? Are its statements correct, and do they address
the options?

Reads   make: a folder in MMedBench's layout; the others: the SQLite file that make wrote (--db)
Writes  make: --db; serve: the answers, into it; export: --out, a copy of the benchmark with human_checked and
        human_check_passed. make and link print personal links once; the file contains only their hashes.

    python mmedbench/review.py make data/MMedBench --db data/review.sqlite --sample 200 --reviewers anna ben \
        --referee chen
    python mmedbench/review.py serve data/review.sqlite
    python mmedbench/review.py link data/review.sqlite --person anna
    python mmedbench/review.py report data/review.sqlite
    python mmedbench/review.py export data/review.sqlite --data data/MMedBench --out data/MMedBench_checked
"""

import argparse
import ipaddress
import json
import sys
from pathlib import Path

from review_desk import review_agreement, review_export, review_sample
from review_desk.review_store import FORMAT_VERSION, ReviewStore, create_store
from run_record import InputError, provenance, run_command, write_json
from sources.find_sources import SPLITS

HOST, PORT = "127.0.0.1", 8765
THREADS = 4  # browsers open a few connections each; answers are written one at a time anyway


def make_review(options: argparse.Namespace) -> int:
    """Draw the sample, make the database, print the personal links."""
    names = [*options.reviewers, *([options.referee] if options.referee else [])]
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise InputError(f"--reviewers and --referee are different people with a name each, not {', '.join(names)}")
    review_sample.check_benchmark(options.benchmark)
    splits = sorted(set(options.split), key=list(SPLITS).index)
    items, counts = review_sample.sample_rationales(options.benchmark, splits, options.sample, options.seed)
    arguments = {
        "sample": options.sample,
        "seed": options.seed,
        "split": splits,
        "reviewers": options.reviewers,
        "referee": options.referee,
    }
    inputs = review_sample.described_splits(options.benchmark, splits)
    print(f"{'language':<9} {'questions':>9} {'with rationale':>14} {'sampled':>7}")
    for language, row in counts.items():
        print(f"{language:<9} {row['questions']:>9} {row['with_rationale']:>14} {row['sampled']:>7}")
    if options.db.exists():
        facts = ReviewStore(options.db).facts()
        if (facts["arguments"], facts["inputs"]) != (arguments, inputs):
            raise InputError(f"{options.db} contains a review with other arguments or questions; use another --db")
        print(
            f"{options.db} is complete, with the same arguments and questions: reused. Links are printed only once; "
            f"`python mmedbench/review.py link {options.db} --person NAME` gives a new one"
        )
        return 0
    if options.dry_run:
        print(f"dry run: would write {len(items)} rationales for {', '.join(names)} to {options.db}")
        return 0
    facts = {
        "format_version": FORMAT_VERSION,
        "stage": "mmedbench/review.py",
        "benchmark": str(options.benchmark),
        "arguments": arguments,
        "inputs": inputs,
        "counts": counts,
        "provenance": provenance(options.command_line),
    }
    people = [(name, "reviewer") for name in options.reviewers]
    people += [(options.referee, "referee")] if options.referee else []
    tokens = create_store(options.db, items, people, facts)
    print(f"wrote {options.db}. Give each person only their own link; the links are not shown again:")
    for name, role in people:
        print_link(name, role, tokens[name])
    print(f"then: python mmedbench/review.py serve {options.db}")
    return 0


def print_link(name: str, role: str, token: str) -> None:
    print(f"  {name} ({role}): http://{HOST}:{PORT}/r/{token}/")


def renew_link(options: argparse.Namespace) -> int:
    """Replace a person's link that was lost or leaked."""
    store = ReviewStore(options.db)
    person = next((person for person in store.people if person.name == options.person), None)
    if person is None:
        raise InputError(f"{options.db} has no {options.person!r}; it has {', '.join(p.name for p in store.people)}")
    token = store.renew_token(person)
    print("the old link no longer works; all answers are kept")
    print_link(person.name, person.role, token)
    return 0


def serve_page(options: argparse.Namespace) -> int:
    """Run the web page until it is interrupted."""
    import waitress

    from review_desk.review_app import create_app

    store = ReviewStore(options.db)
    for language, items in store.items.items():
        done = [
            sum(answers[item.id].complete for item in items if item.id in answers)
            for answers in map(store.answers, store.reviewers)
        ]
        shown = ", ".join(f"{person.name} {n}" for person, n in zip(store.reviewers, done, strict=True))
        print(f"{language}: {len(items)} rationales; judged: {shown}")
    try:
        server = waitress.create_server(
            create_app(store),
            host=options.host,
            port=options.port,
            threads=THREADS,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot listen on {options.host} port {options.port} ({error}); choose others") from None
    if not is_loopback(options.host):
        print(
            f"warning: {options.host} lets other machines reach this page, over HTTP without encryption: whoever "
            "can read the network can read the links and answer under another's name. Use a trusted network, or "
            "omit --host and reach it through an SSH tunnel",
            file=sys.stderr,
        )
    host, port = (getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)])[0]
    shown = f"[{host}]" if ":" in str(host) else host
    print(
        f"serving on {host} port {port}; each link is http://{shown}:{port}/r/TOKEN/ (Ctrl+C ends it; nothing is lost)",
        flush=True,
    )
    try:
        server.run()
    finally:
        server.close()
        store.close()
    return 0


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def report_agreement(options: argparse.Namespace) -> int:
    """Progress, agreement and kappa per language and criterion."""
    store = ReviewStore(options.db)
    rows = review_agreement.agreement(store)
    first, second = (person.name for person in store.reviewers)
    for language, row in rows.items():
        print(
            f"{language}: {row['items']} rationales; {first} judged {row['judged'][0]}, {second} {row['judged'][1]}, "
            f"both {row['both']}; {row['conflicts']} conflicts, {row['open_conflicts']} open; "
            f"{row['settled']} settled, {row['passed']} passed"
        )
    print()
    print("\n".join(review_agreement.agreement_table(rows)))
    print(
        "\nsupports: supports the given answer; correct: its statements are right and address the options. n: judged "
        "by both. kappa: Cohen (1960), interval: Fleiss, Cohen and Everitt (1969)"
    )
    if options.out:
        write_json(
            options.out,
            {
                "format_version": 1,
                "stage": "mmedbench/review.py",
                "agreement": rows,
                "review": store.facts(),
                "provenance": provenance(options.command_line),
            },
        )
        print(f"wrote {options.out}")
    return 0


def export_benchmark(options: argparse.Namespace) -> int:
    """Write the verdicts back into a copy of the benchmark."""
    return review_export.export_verdicts(
        ReviewStore(options.db), options.data, options.out, options.notes, options.dry_run, options.command_line
    )


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def port_number(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 65535")
    return value


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    verbs = parser.add_subparsers(dest="command", required=True)

    def verb(name: str, run, text: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, allow_abbrev=False, help=text, description=text)
        command.set_defaults(run=run)
        if name != "make":
            command.add_argument("db", type=Path, metavar="DB", help="SQLite file that make wrote")
        return command

    make = verb("make", make_review, "draw the sample, make the database and print the personal links")
    make.add_argument("benchmark", type=Path, metavar="BENCHMARK", help="folder in MMedBench's layout")
    make.add_argument(
        "--db",
        type=Path,
        default=Path("data/review.sqlite"),
        metavar="FILE",
        help="SQLite file to make, on a local disk (default: %(default)s)",
    )
    make.add_argument(
        "--sample",
        type=positive,
        default=200,
        metavar="N",
        help="rationales per language, all if there are fewer (default: %(default)s)",
    )
    make.add_argument(
        "--split", nargs="+", choices=list(SPLITS), default=["Test"], help="splits to draw from (default: Test)"
    )
    make.add_argument("--seed", type=int, default=0, help="whole number; another draws another sample (default: 0)")
    make.add_argument(
        "--reviewers", nargs=2, required=True, metavar=("NAME", "NAME"), help="names of the two reviewers"
    )
    make.add_argument("--referee", metavar="NAME", help="name of the person who settles disagreements (default: none)")
    make.add_argument("--dry-run", action="store_true", help="validate and count, write nothing")
    serve = verb("serve", serve_page, "run the web page")
    serve.add_argument(
        "--host",
        default=HOST,
        metavar="ADDRESS",
        help="address to listen on (default: %(default)s, which no other machine can reach)",
    )
    serve.add_argument(
        "--port", type=port_number, default=PORT, help="TCP port; 0: any free one (default: %(default)s)"
    )
    link = verb("link", renew_link, "print a new personal link; the old one stops working")
    link.add_argument("--person", required=True, metavar="NAME", help="reviewer or referee")
    report = verb("report", report_agreement, "print progress, agreement and Cohen's kappa per language")
    report.add_argument("--out", type=Path, metavar="FILE", help="also write the figures as JSON")
    export = verb("export", export_benchmark, "write human_checked and human_check_passed into a copy of the benchmark")
    export.add_argument(
        "--data",
        type=Path,
        default=Path("data/MMedBench"),
        metavar="DIR",
        help="the benchmark the sample was drawn from (default: %(default)s)",
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    export.add_argument(
        "--notes",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="include the reviewers' notes in human_check.jsonl (default: no)",
    )
    export.add_argument("--dry-run", action="store_true", help="validate and count, write nothing")
    return parser


def main(argv: list[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    options.command_line = sys.argv[1:] if argv is None else argv
    shown = {name: value for name, value in vars(options).items() if name not in ("run", "command_line")}
    print("arguments: " + json.dumps(shown, ensure_ascii=False, default=str))
    return options.run(options)


if __name__ == "__main__":
    run_command(main)
