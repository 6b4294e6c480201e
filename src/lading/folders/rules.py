"""The rules for what the folders of all contracts have."""

from __future__ import annotations

from lading.folders.findings import ERROR, HINT, WARNING, Rule

__all__ = ["COMMON"]

DOCKERFILE_MISSING = Rule(
    "dockerfile-missing",
    ERROR,
    "There is no `Dockerfile`, or it is a directory, empty, larger than 1 MiB, or no text.",
    "hosts build the image from it",
    "write a Dockerfile; `lading new` writes one to begin with",
)
DOCKERFILE_INVALID = Rule(
    "dockerfile-invalid",
    ERROR,
    "The `Dockerfile` holds what a builder refuses.",
    "it can't be built",
    "see the reference of Dockerfiles",
)
DOCKERIGNORE_INVALID = Rule(
    "dockerignore-invalid",
    ERROR,
    "The `.dockerignore` can't be read, or has a pattern that can't be.",
    "nobody can say what goes to the builder",
    "correct the pattern",
)
BASE_UNDEFINED = Rule(
    "base-undefined",
    ERROR,
    "A `FROM` names a variable without a value.",
    "hosts build the folder as it is, without build arguments",
    "give the ARG a default: ARG BASE=python:3.11-slim",
)
BASE_UNPINNED = Rule(
    "base-unpinned",
    WARNING,
    "A base image has no tag, or `latest`.",
    "the same folder becomes another image tomorrow",
    "name a version: python:3.11-slim",
)
BASE_WITHOUT_DIGEST = Rule(
    "base-without-digest",
    HINT,
    "A base image is named by a tag, and not by its digest.",
    "a tag can be moved to another image",
    "add its digest to build from the same bytes always: image:tag@sha256:...",
)
COPY_SOURCE_MISSING = Rule(
    "copy-source-missing",
    ERROR,
    "`COPY` or `ADD` names what is not in the folder.",
    "the build fails",
    "add the file, or correct the name; capitals count",
)
COPY_SOURCE_IGNORED = Rule(
    "copy-source-ignored",
    ERROR,
    "`COPY` or `ADD` names what `.dockerignore` leaves out.",
    "the builder never gets to see it, and the build fails",
    "take it out of .dockerignore, or take it in again with !",
)
COPY_SOURCE_OUTSIDE = Rule(
    "copy-source-outside",
    ERROR,
    "`COPY` or `ADD` names what is outside the folder.",
    "the builder gets the folder and nothing else",
    "put it into the folder",
)
COPY_SOURCE_HIDDEN = Rule(
    "copy-source-hidden",
    WARNING,
    "`COPY` or `ADD` names a hidden file or directory.",
    "IPFS leaves out what is hidden, so hosts can't build the folder",
    "give it a name without the dot, and rename it with COPY",
)
ADD_URL = Rule(
    "add-url",
    WARNING,
    "`ADD` fetches a URL without a checksum.",
    "what is there tomorrow is built in, unseen, and executors refuse it by default",
    "put the file into the folder, or write ADD --checksum=sha256:... URL",
)
COMMAND_SHELL_FORM = Rule(
    "command-shell-form",
    WARNING,
    "`CMD` or `ENTRYPOINT` is no JSON list.",
    "a shell runs in front of it and does not pass signals on: the task is killed, never stopped",
    'write it as a list: CMD ["python", "server.py"]',
)
SECRET_IN_DOCKERFILE = Rule(
    "secret-in-dockerfile",
    WARNING,
    "`ENV` or `ARG` gives a password, token or key a value.",
    "whoever has the image can read it, even if a later line takes it away",
    "mount it while building: RUN --mount=type=secret",
)
SECRET_IN_FOLDER = Rule(
    "secret-in-folder",
    ERROR,
    "A private key, a token of known shape, or a file that is known to hold secrets.",
    "a published folder is public, for ever",
    "take it away, and revoke what was ever published; --ignore secret-in-folder if it is none",
)
SECRET_LIKELY = Rule(
    "secret-likely",
    WARNING,
    "Something called a password, secret, token or key is set to a long random word.",
    "a published folder is public, for ever",
    "have it given when the task is called, or --ignore secret-likely if it is none",
)
FILE_LARGE = Rule(
    "file-large",
    WARNING,
    "A file of more than 100 MiB.",
    "every host fetches it and every build copies it",
    "fetch it while building, by a checksum, or make it smaller",
)
FOLDER_LARGE = Rule(
    "folder-large",
    WARNING,
    "All files together have more than 500 MiB.",
    "every host fetches all of it, and executors refuse what is above their limit (1 GiB)",
    "leave out what the task does not need",
)
FOLDER_CROWDED = Rule(
    "folder-crowded",
    WARNING,
    "There are more than 10,000 files.",
    "each is a block of its own in IPFS, and fetched one by one",
    "pack them into an archive, and unpack it in the Dockerfile",
)
VERSIONS_IN_CONTEXT = Rule(
    "versions-in-context",
    WARNING,
    "`.git` (or `.hg`, `.svn`) goes to the builder.",
    "all that ever was in the folder may end up in the image, with every secret once deleted",
    "name it in .dockerignore",
)
CLUTTER = Rule(
    "clutter",
    HINT,
    "Caches, virtual environments and the like are in the folder.",
    "they are published or built in, and nobody needs them",
    "name it in .dockerignore and delete it before publishing",
)
EXECUTABLE_LOST = Rule(
    "executable-lost",
    WARNING,
    "A file is executable, and the Dockerfile runs it by its name.",
    "IPFS does not keep that bit: on hosts it can't be run",
    "write COPY --chmod=755, run chmod +x in the Dockerfile, or call its interpreter: sh run.sh",
)
HIDDEN_LEFT_OUT = Rule(
    "hidden-left-out",
    HINT,
    "A hidden file goes to the builder here, and is none of a tool's.",
    "IPFS leaves it out: hosts build without it",
    "give it a name without the dot if the task needs it",
)
LINK_OUTSIDE = Rule(
    "link-outside",
    ERROR,
    "A symbolic link leads out of the folder.",
    "what it means is not published, and such a folder is refused",
    "copy the file",
)
LINK_BROKEN = Rule(
    "link-broken",
    WARNING,
    "A symbolic link leads nowhere.",
    "whoever opens it fails",
    "delete it, or add what it names",
)
SPECIAL_FILE = Rule(
    "special-file",
    ERROR,
    "A socket, pipe or device.",
    "it can't be published, and builders leave it out",
    "delete it",
)
FILE_UNREADABLE = Rule(
    "file-unreadable",
    ERROR,
    "A file or directory can't be read.",
    "it can't be built or published",
    "make it readable, or name it in .dockerignore",
)
NAME_NOT_UTF8 = Rule(
    "name-not-utf8",
    ERROR,
    "A file's name is no UTF-8.",
    "IPFS can't hold such a name",
    "rename it",
)
NAME_NOT_PORTABLE = Rule(
    "name-not-portable",
    WARNING,
    "A file's name holds control characters or a backslash.",
    "it becomes another, or can't be stored, on some hosts",
    "rename it",
)
SCRIPT_CRLF = Rule(
    "script-crlf",
    WARNING,
    "A script's first line ends as lines of Windows do.",
    "Linux looks for an interpreter whose name ends in a carriage return",
    "save it with line ends of Unix",
)
SEARCH_INCOMPLETE = Rule(
    "search-incomplete",
    HINT,
    "The folder is too large to look into all of it.",
    "secrets in the rest would not be found",
    "leave out what the task does not need",
)

COMMON: tuple[Rule, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Rule)
)
"""All of them, in the order of this file."""
