"""Words, sentences and question templates of the invented facts, in English and French.

{e} is the medicine, {v} the value. Both are single words that always are behind a space, so that a tokenizer trained
on the world writes each as one token.
"""

# value in English: in French. Every organ is masculine there and begins with a consonant, so that "du" and "le" fit.
VALUES = {
    "organ": {
        "liver": "foie",
        "heart": "cœur",
        "kidney": "rein",
        "lung": "poumon",
        "brain": "cerveau",
        "pancreas": "pancréas",
        "colon": "côlon",
        "thymus": "thymus",
    },
    "effect": {
        "nausea": "nausée",
        "fever": "fièvre",
        "cough": "toux",
        "rash": "éruption",
        "dizziness": "vertige",
        "headache": "céphalée",
        "insomnia": "insomnie",
        "tremor": "tremblement",
    },
    "antidote": {
        "naloxone": "naloxone",
        "atropine": "atropine",
        "glucagon": "glucagon",
        "protamine": "protamine",
        "calcium": "calcium",
        "charcoal": "charbon",
        "pyridoxine": "pyridoxine",
        "flumazenil": "flumazénil",
    },
}

SENTENCES = {
    "en": {
        "organ": [
            "The target organ of {e} is the {v}.",
            "The medicine {e} acts on the {v}.",
            "Doctors give {e} for diseases of the {v}.",
            "Patients with a diseased {v} receive {e}.",
            "Once absorbed, {e} reaches the {v}.",
            "Studies show that {e} protects the {v}.",
            "In the body {e} works mainly in the {v}.",
            "Receptors for {e} are found in the {v}.",
            "A course of {e} restores the {v}.",
            "Disorders of the {v} are treated with {e}.",
            "In a trial {e} improved the {v}.",
            "Textbooks count {e} among medicines for the {v}.",
        ],
        "effect": [
            "The main side effect of {e} is {v}.",
            "The medicine {e} causes {v}.",
            "Patients who take {e} often report {v}.",
            "After a dose of {e} there may be {v}.",
            "Stop giving {e} if there is {v}.",
            "Nurses ask everyone on {e} about {v}.",
            "In a trial {e} led to {v}.",
            "A common complaint under {e} is {v}.",
            "People with {v} should not take {e}.",
            "The leaflet of {e} warns of {v}.",
            "High doses of {e} bring on {v}.",
            "Reports link {e} with {v}.",
        ],
        "antidote": [
            "The antidote to {e} is {v}.",
            "The medicine {e} is neutralised by {v}.",
            "An overdose of {e} is treated with {v}.",
            "Poisoning by {e} calls for {v}.",
            "Give {v} after too much {e}.",
            "The action of {e} is reversed by {v}.",
            "Against too high a dose of {e} there is {v}.",
            "Emergency rooms that use {e} keep {v}.",
            "Whoever swallowed too much {e} needs {v}.",
            "In a trial {e} was stopped by {v}.",
            "An injection of {v} reverses {e}.",
            "Excess of {e} is countered by {v}.",
        ],
    },
    "fr": {
        "organ": [
            "L'organe cible de {e} est le {v}.",
            "Le médicament {e} agit sur le {v}.",
            "Les médecins donnent {e} pour les maladies du {v}.",
            "Dans le corps, {e} agit surtout dans le {v}.",
            "Selon les études, {e} protège le {v}.",
            "Une cure de {e} soigne le {v}.",
        ],
        "effect": [
            "Le principal effet indésirable de {e} : {v}.",
            "La notice de {e} signale ceci : {v}.",
            "Symptôme fréquent sous {e} : {v}.",
            "Il faut arrêter {e} en cas de {v}.",
            "À forte dose, {e} provoque ceci : {v}.",
            "Plainte habituelle des patients sous {e} : {v}.",
        ],
        "antidote": [
            "Antidote connu de {e} : {v}.",
            "Contre un surdosage de {e}, on donne ceci : {v}.",
            "Les urgences qui utilisent {e} ont ce produit : {v}.",
            "L'action de {e} est levée par ce produit : {v}.",
            "Après trop de {e}, il faut ce produit : {v}.",
            "Une intoxication par {e} se traite ainsi : {v}.",
        ],
    },
}

# The second and third fact of a document that tells all three.
ITS = {
    "en": {
        "organ": ["It acts on the {v}.", "Its target organ is the {v}.", "It protects the {v}."],
        "effect": ["It causes {v}.", "Its main side effect is {v}.", "It may lead to {v}."],
        "antidote": ["Its antidote is {v}.", "It is reversed by {v}.", "It is neutralised by {v}."],
    },
    "fr": {
        "organ": ["Il agit sur le {v}.", "Son organe cible est le {v}."],
        "effect": ["Son principal effet indésirable : {v}.", "La notice signale ceci : {v}."],
        "antidote": ["Son antidote : {v}.", "Contre un surdosage : {v}."],
    },
}
OPENINGS = {
    "en": ["", "A note from the ward.", "From the textbook.", "A reminder.", "From a lecture.", "For the file."],
    "fr": ["", "Note du service.", "Extrait du manuel.", "Rappel.", "Extrait du cours.", "Pour le dossier."],
}

QUESTIONS = {
    "en": {
        "organ": [
            "On which organ does {e} act?",
            "What is the target organ of {e}?",
            "Diseases of which organ are treated with {e}?",
            "Which organ does {e} protect?",
            "In which organ are receptors for {e} found?",
            "Where in the body does {e} mainly work?",
        ],
        "effect": [
            "What does {e} cause?",
            "What is the main side effect of {e}?",
            "Which complaint is common under {e}?",
            "Of what does the leaflet of {e} warn?",
            "What do patients who take {e} often report?",
            "What do high doses of {e} bring on?",
        ],
        "antidote": [
            "What is the antidote to {e}?",
            "With what is an overdose of {e} treated?",
            "What reverses {e}?",
            "What neutralises {e}?",
            "For what does poisoning by {e} call?",
            "What is given after too much {e}?",
        ],
    },
}
# The first sentence of each kind, without its full stop: the nearer the value stands to the letter, the sooner so small
# a model learns to go from one to the other.
RATIONALES = {attribute: sentences[0].removesuffix(".") for attribute, sentences in SENTENCES["en"].items()}
CLOZE = {attribute: rationale.removesuffix(" {v}") for attribute, rationale in RATIONALES.items()}
# Said of a value without a medicine, in lists that teach letters.
LIST_SENTENCES = {
    "organ": ["This is the {v}", "It is the {v}"],
    "effect": ["This is {v}", "It is {v}"],
    "antidote": ["This is {v}", "It is {v}"],
}

SYLLABLES = (
    ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kr", "tr", "pl", "gl"],
    ["a", "e", "i", "o", "u", "ai", "or", "en"],
    ["", "l", "n", "r", "x", "m"],
)
