"""How a model card shows the evaluations of a generator of labelled images."""

from collections.abc import Mapping, Sequence

LABELS = {"tissue": "tissues", "csf": "fluid", "grey": "grey matter", "white": "white matter", "lesion": "lesion"}
TISSUES = ("csf", "grey", "white")
TRAINED = "trained_on_"
KINDS = {"real": "real pairs", "drawn": "drawn pairs alone", "both": "both"}


def generation_rows(measured: Mapping, methods: Mapping[str, str]) -> list[list[list[str]]]:
    """Tables as rows of cells: what is left of maps, images beside real ones; of a measured generation also what it is worth."""
    tables = [_images([figures_of for figures_of in measured.values() if "segmentation" not in figures_of], methods)]
    for entry in (figures_of for figures_of in measured.values() if "segmentation" in figures_of):
        tables += [_segmentation(entry), _facts(entry)]
    return tables


def _images(entries: list[Mapping], methods: Mapping[str, str]) -> list[list[str]]:
    names = {"psnr": ("PSNR", "{:.1f} dB"), "ssim": ("SSIM", "{:.3f}")}
    names |= {"dice": ("Dice of tissues", "{:.3f}"), "lesion_dice": ("Dice of lesions", "{:.3f}")}
    rows = [["measurement", "what", *(title for title, _ in names.values())]]
    rows.append(["---", "---", *["---:"] * len(names)])
    for entry in entries:
        for method, title in methods.items():
            if figures := entry["mean"].get(method):
                cells = [form.format(figures[name]) if name in figures else "" for name, (_, form) in names.items()]
                rows.append([f"{entry['what']}, {len(entry['cases'])} images", title, *cells])
    return rows


def _segmentation(entry: Mapping) -> list[list[str]]:
    rows = [["segmentation network trained on (each seed)", *(f"Dice, {title}" for title in LABELS.values())]]
    rows.append(["---", *["---:"] * len(LABELS)])
    for kind, title in KINDS.items():
        mean, seeds = entry["mean"][TRAINED + kind], entry["segmentation"][kind]["mean"]
        rows.append([title, *(f"{mean[k]:.3f} ({_each(seeds[k])})" if k in mean else "" for k in LABELS)])
    return rows


def _each(values: Sequence[float]) -> str:
    """The value of each seed: of so few an interval would say nothing."""
    return ", ".join(f"{value:.2f}" for value in sorted(values))


def _facts(entry: Mapping) -> list[list[str]]:
    maps, painted, far, copies = (entry["mean"]["maps"], entry["mean"]["painted"], entry["distance"], entry["memorisation"])
    low, high = copies["copy_interval"]
    real, drawn = (entry["mean"][TRAINED + kind]["tissue"] for kind in ("real", "drawn"))
    figures = {
        "lesion drawn where it is asked for": f"{100 * maps['lesion_when_asked']:.0f} % of {maps['drawn'] // 2}",
        "lesion drawn where it is not": f"{100 * maps['lesion_when_not']:.0f} % of {maps['drawn'] // 2}",
        "volume beside real maps: fluid, grey, white": ", ".join(f"{100 * maps[f'{k}_volume']:.0f} %" for k in TISSUES),
        "tissue Dice of drawn pairs alone over that of real pairs": f"{100 * drawn / real:.0f} %",
        "painted images labelled again by networks of real pairs: tissue Dice": f"{painted['again']:.3f}{_by_contrast(painted)}",
        "one map in two styles: likeness of edges (SSIM)": f"{painted['edges_ssim']:.2f}",
        "contrast of a style image and of what is painted in it: r": f"{painted['contrast_r']:.3f}",
        f"Frechet distance of {far['n']} images": f"{far['fake']:.3g} (real {far['real']:.3g}, untrained {far['null']:.3g})",
        "copies among painted images": f"{100 * copies['copy_fraction']:.1f} % ({100 * low:.1f} to {100 * high:.1f} %)",
    }
    if paper := entry["mean"].get("published"):
        shares = ", ".join(f"{100 * paper[key]:.0f} %" for key in ("lesion_when_asked", "lesion_when_not"))
        figures["as published: lesion where it is asked for, and where not"] = f"{shares} of {paper['drawn'] // 2}"
    if member := copies.get("membership"):
        least, most = member["interval"]
        figures["membership of a map in the training: AUC"] = f"{member['auc']:.2f} ({least:.2f} to {most:.2f})"
    return [["generation", ""], ["---", "---:"], *([key, value] for key, value in figures.items())]


def _by_contrast(painted: Mapping) -> str:
    """The same figure by contrast, in brackets."""
    each = {key.removeprefix("again_").upper(): value for key, value in painted.items() if key.startswith("again_")}
    return f" ({', '.join(f'{name} {value:.3f}' for name, value in each.items())})" if each else ""
