"""The texts of an exported task folder: YAML for lm-evaluation-harness, a dataset card for lighteval, the commands."""

import json


def lm_eval_files(settings: dict) -> dict[str, str]:
    """{file name: YAML text}: a task a key and a group, generated and by letters.

    The group's number is the plain mean over languages, as the paper averages.
    """
    # JSON is YAML, but for lm_eval's function tag; so values are written as JSON and the tag as text.
    files = {}
    for name in ("mmedbench", "mmedbench_letters") if settings["letters"] else ("mmedbench",):
        metrics = ["exact_set"] if name.endswith("letters") else ["exact_set", "unparsed"]
        for key in settings["keys"]:
            lines = [
                f"task: {name}_{key}",
                "custom_dataset: !function harness_scoring.read_task",
                f"dataset_kwargs: {json.dumps({'key': key})}",
                "test_split: test",
                "doc_to_text: prompt",
                "doc_to_target: gold",
            ]
            if name.endswith("letters"):
                lines += [
                    "output_type: multiple_choice",
                    "doc_to_choice: letters",
                    f"target_delimiter: {json.dumps(settings['delimiters']['lm_eval'])}",
                    "process_results: !function harness_scoring.score_letters",
                ]
            else:
                generation = {
                    "until": settings["until"],
                    "max_gen_toks": settings["max_new_tokens"],
                    "do_sample": False,
                }
                lines += [
                    "output_type: generate_until",
                    f"generation_kwargs: {json.dumps(generation, ensure_ascii=False)}",
                    "process_results: !function harness_scoring.score_generated",
                ]
            lines.append("metric_list:")
            for metric in metrics:
                better = json.dumps(metric == "exact_set")
                lines.append(f"  - {{metric: {metric}, aggregation: mean, higher_is_better: {better}}}")
            lines.append(f"metadata: {{version: {settings['task_version']}}}")
            files[f"{name}_{key}.yaml"] = "\n".join(lines) + "\n"
        tasks = [f"{name}_{key}" for key in settings["keys"]]
        aggregates = [{"metric": metric, "aggregation": "mean", "weight_by_size": False} for metric in metrics]
        files[f"{name}.yaml"] = (
            f"group: {name}\ntask: {json.dumps(tasks)}\naggregate_metric_list: {json.dumps(aggregates)}\n"
            f"metadata: {{version: {settings['task_version']}}}\n"
        )
    return files


def dataset_card(keys: list[str]) -> str:
    """data/README.md: its head tells the `datasets` package, by which lighteval reads, which file is which subset."""
    subsets = "".join(f"- config_name: {key}\n  data_files:\n  - split: test\n    path: {key}.jsonl\n" for key in keys)
    return f"---\nconfigs:\n{subsets}---\n\nRendered prompts; made by inference/export_harness.py.\n"


def read_me(model: str, base: str | None, chat: bool) -> str:
    """The commands. A stored chat prompt has its opening token already and must not go through a template again."""
    lm_eval = f"pretrained={base},peft={model},tokenizer={model}" if base else f"pretrained={model}"
    lighteval = f"model_name={model}" + (f",adapter_weights=True,base_model={base}" if base else "")
    lighteval += ",override_chat_template=False"
    if chat:
        lm_eval, lighteval = lm_eval + ",add_bos_token=False", lighteval + ",add_special_tokens=False"
    return f"""# MMedBench for lm-evaluation-harness and lighteval

Prompts are stored as the model gets them; `exact_set` is right when the set of letters is exactly right. Run each in an
environment of its own, from where `{model}` is found, with this folder as DIR. `mmedbench_letters` in the place of
`mmedbench` takes the likeliest letter.

    lm_eval --include_path DIR --tasks mmedbench --model hf --model_args {lm_eval} --batch_size 32
    lighteval accelerate "{lighteval},batch_size=32" mmedbench --custom-tasks DIR/harness_lighteval.py

lighteval keeps answers by the model's name: give HF_HOME a new folder when the model under a name has changed.
"""
