"""What one row of the requirements is."""

from __future__ import annotations

from dataclasses import dataclass

TOPICS = {
    "END": "Endpoint",
    "AUTH": "Who may call",
    "ID": "Identifiers",
    "VER": "API versions",
    "EXEC": "Executions",
    "RES": "Results",
    "FAIL": "Failures, timeouts and limits",
    "ASYNC": "Asynchronous executions",
    "FILE": "Files",
    "SES": "Sessions",
    "META": "What is installed",
    "HEAD": "Reply headers",
    "ERR": "Errors",
    "OLD": "Versions of early 2024 and before",
    "SHELL": "Shell pools",
    "NODE": "NodeLTS pools",
    "NET": "Network and isolation",
    "OUT": "Other parts of the service",
}
TAGS = {
    "SPEC": "Microsoft's API specifications (Azure/azure-rest-api-specs, `Microsoft.App.DynamicSessions`)",
    "DOC": "Microsoft's documentation (MicrosoftDocs/azure-docs, `articles/container-apps`)",
    "SAMPLE": "Microsoft's samples (Azure-Samples/container-apps-dynamic-sessions-samples and its successors)",
    "CLIENT": "what a published client sends and reads, by its source, its tests or its traffic",
    "LIVE3P": "what somebody with a real pool has written down in public",
    "RAN": "tried out here, with a published client",
    "INFER": "a conclusion that is stated nowhere",
    "MEMORY": "general knowledge that was not looked up",
}
GUESSES = {"INFER", "MEMORY"}


@dataclass(frozen=True)
class Requirement:
    """One thing that the service does.

    Attributes:
        id: its topic's abbreviation and a number.
        sentence: what the service does.
        source: who says so.
        tag: what kind of evidence that is, one or several of `TAGS`.
        ours: what the emulator does, where that is not simply the sentence.
        differs: where the emulator knowingly does something else, and why.
        assumed: it rests on a guess, or its sources contradict each other.
        implemented: the emulator does it.
    """

    id: str
    sentence: str
    source: str
    tag: str
    ours: str = ""
    differs: str = ""
    assumed: bool = False
    implemented: bool = True

    @property
    def topic(self) -> str:
        """The heading that it is under."""
        return TOPICS[self.id.partition("-")[0]]

    @property
    def tags(self) -> list[str]:
        """Each kind of evidence."""
        return self.tag.split(", ")

    @property
    def standing(self) -> str:
        """How the emulator stands to it, in the words of the page's count."""
        if not self.implemented:
            return "not implemented"
        if self.differs:
            return "differs"
        return "assumed" if self.assumed else "as documented"
