"""Scripts that wait for input, and scripts that are merely silent: what detection is tested with.

Each is a bash script that runs for a minute at least unless it is answered.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil


@dataclasses.dataclass(frozen=True)
class Script:
    """One script with what its wait is to look like."""

    text: str
    prompt: str = ""
    secret: bool = False
    #: Program without which it cannot run.
    needs: str = "bash"

    @property
    def is_installed(self) -> bool:
        """Whether the machine can run it."""
        return shutil.which(self.needs) is not None


def python(code: str) -> str:
    """Return a shell command that runs a piece of Python."""
    return f"exec python3 -c {shlex.quote(code)}"


def perl(code: str) -> str:
    """Return a shell command that runs a piece of Perl."""
    return f"exec perl -e {shlex.quote(code)}"


_POLLING = """
import select, sys
print("Key? ", end="", flush=True)
{wait}
"""

WAITING: dict[str, Script] = {
    "read": Script("read x"),
    "read after a prompt": Script("printf 'Your name: '; read x", "Your name:"),
    "read after a line": Script("echo 'Type your name'; read x", "Type your name"),
    "read -s": Script("printf 'Password: '; read -s x", "Password:", True),
    "read -t": Script("printf 'Soon? '; read -t 300 x", "Soon?"),
    "read in a loop with a limit": Script(
        "printf 'Go on? '; while ! read -t 0.3 x; do :; done", "Go on?"
    ),
    "read under set -x": Script("set -x; printf 'Name: '; read x", "Name:"),
    "select": Script("select x in apple pear; do break; done", "#?"),
    "while read": Script('while read -r line; do echo "$line"; done'),
    "nested shells": Script("bash -c 'sh -c \"printf deep:\\ ; read x\"; true'; true", "deep:"),
    "command substitution": Script("printf 'in: '; x=$(head -n 1); echo $x", "in:"),
    "through a pipe": Script("printf 'piped> '; cat | sh -c 'read x; echo $x'", "piped>"),
    "cat": Script("cat"),
    "cat in the background": Script("exec 3<&0; cat <&3 & wait"),
    "escaped with setsid": Script("exec 3<&0; (setsid cat <&3 &); sleep 300"),
    "dd": Script("dd bs=1 count=1 status=none"),
    "sed": Script("sed -u s/a/b/"),
    "awk": Script("awk '{print}'", needs="awk"),
    "reopened": Script("read x < /dev/stdin"),
    "python input": Script(python("input('Age: ')"), "Age:", needs="python3"),
    "python, Japanese": Script(python("input('お名前は？ ')"), "お名前は？", needs="python3"),
    "python, a secret in Japanese": Script(
        python("input('パスワードを入力してください: ')"),
        "パスワードを入力してください:",
        True,
        needs="python3",
    ),
    "python readline": Script(
        python("import sys; print('ready'); sys.stdin.readline()"), "ready", needs="python3"
    ),
    "python, coloured": Script(
        python(r"input('\x1b[1;32m?\x1b[0m Project name \x1b[2K\rProject: ')"),
        "Project:",
        needs="python3",
    ),
    "getpass": Script(
        python("import getpass; getpass.getpass()"), "Password:", True, needs="python3"
    ),
    "python select": Script(
        python(_POLLING.format(wait="select.select([sys.stdin], [], [])")),
        "Key?",
        needs="python3",
    ),
    "python select with a limit": Script(
        python(_POLLING.format(wait="while not select.select([sys.stdin], [], [], 0.2)[0]: pass")),
        "Key?",
        needs="python3",
    ),
    "python poll": Script(
        python(_POLLING.format(wait="p = select.poll(); p.register(0, 1); p.poll()")),
        "Key?",
        needs="python3",
    ),
    "python epoll": Script(
        python(_POLLING.format(wait="p = select.epoll(); p.register(0, 1); p.poll()")),
        "Key?",
        needs="python3",
    ),
    "python asyncio": Script(
        python(
            "import asyncio, sys\n"
            "print('async> ', end='', flush=True)\n"
            "loop = asyncio.new_event_loop()\n"
            "loop.add_reader(0, lambda: None)\n"
            "loop.run_forever()"
        ),
        "async>",
        needs="python3",
    ),
    "python thread": Script(
        python("import threading; threading.Thread(target=input, args=['t: ']).start()"),
        "t:",
        needs="python3",
    ),
    "child of python": Script(
        python("import subprocess; subprocess.run(['sh', '-c', 'printf c:; read x'])"),
        "c:",
        needs="python3",
    ),
    "perl": Script(perl("$| = 1; print 'Perl: '; <STDIN>"), "Perl:", needs="perl"),
    "perl sysread": Script(
        perl("syswrite STDERR, 'Err: '; sysread STDIN, $_, 1"), "Err:", needs="perl"
    ),
    "node": Script(
        "exec node -e \"require('readline').createInterface({input: process.stdin, "
        "output: process.stdout}).question('Node? ', () => process.exit())\"",
        "Node?",
        needs="node",
    ),
}

#: Each prints "ready" (or looks like a prompt) when it is where it stays.
SILENT: dict[str, Script] = {
    "sleep": Script("echo ready; sleep 300"),
    "sleep after what looks like a prompt": Script("printf 'ready? '; sleep 300"),
    "busy loop": Script("echo ready; while :; do :; done"),
    "waiting for a child": Script("sleep 300 & echo ready; wait"),
    "child that sleeps beside": Script("(sleep 300; true) | (sleep 300; true) & echo ready; wait"),
    "cat in the background without input": Script("cat & echo ready; sleep 300"),
    "tail -f": Script("touch $KERUTA_PLACE/log; echo ready; exec tail -f $KERUTA_PLACE/log"),
    "another fifo": Script(
        "mkfifo $KERUTA_PLACE/f; exec 3<>$KERUTA_PLACE/f; printf 'ready: '; read x <&3"
    ),
    "a pipe from a silent program": Script("echo ready; sleep 300 | cat"),
    "compiler that waits for its source": Script(
        "echo ready; sleep 300 | gcc -x c -fsyntax-only -", needs="gcc"
    ),
    "here-document, then sleep": Script("cat <<< text > /dev/null; echo ready; sleep 300"),
    "lock": Script(
        "exec 8> $KERUTA_PLACE/l; flock 8; printf 'ready: '; exec 9> $KERUTA_PLACE/l; flock 9",
        needs="flock",
    ),
    "select on nothing": Script(perl("$| = 1; print 'ready'; select undef, undef, undef, 300")),
    "pause": Script(python("import signal; print('ready> ', end=''); signal.pause()")),
    "accept": Script(
        python(
            "import socket\ns = socket.create_server(('127.0.0.1', 0)); print('ready'); s.accept()"
        )
    ),
    "network read": Script(
        python(
            "import socket\n"
            "s = socket.create_server(('127.0.0.1', 0))\n"
            "c = socket.create_connection(s.getsockname()); print('ready', end=''); c.recv(1)"
        )
    ),
    "server in epoll": Script(
        python(
            "import asyncio\n"
            "async def main():\n"
            "    s = await asyncio.start_server(lambda *_: None, '127.0.0.1', 0)\n"
            "    print('ready: ', end=''); await s.serve_forever()\n"
            "asyncio.run(main())"
        )
    ),
    "remote shell that passes its input on": Script(
        python(
            "import select, socket\n"
            "s = socket.create_server(('127.0.0.1', 0))\n"
            "c = socket.create_connection(s.getsockname())\n"
            "print('ready'); select.select([0, c], [], [])"
        )
    ),
    "poll for the end of its output": Script(
        python(
            "import select\n"
            "p = select.poll(); p.register(0, 0); p.register(1, 0)\n"
            "print('ready: ', end=''); p.poll()"
        )
    ),
    "thread that waits for a lock": Script(
        python(
            "import threading\n"
            "l = threading.Lock(); l.acquire(); print('ready: ', end='')\n"
            "threading.Thread(target=l.acquire).start()"
        )
    ),
    "child whose output is read": Script(
        python(
            "import subprocess\n"
            "print('ready: ', end=''); subprocess.run(['sleep', '300'], capture_output=True)"
        )
    ),
    "wait for a signal": Script("trap : USR1; echo ready; while :; do sleep 300 & wait; done"),
    "frozen": Script("echo ready; kill -STOP $$"),
    "output now and then": Script("echo ready; while sleep 0.2; do printf 'more: '; done"),
    "server of node": Script(
        "exec node -e \"require('http').createServer().listen(0, '127.0.0.1', "
        "() => process.stdout.write('ready: '))\"",
        needs="node",
    ),
}

#: Scripts that wait at a terminal; the FIFO's wait there as well.
AT_A_TERMINAL: dict[str, Script] = {
    "read -p": Script("read -p 'Your name: ' x", "Your name:"),
    "read -s at a terminal": Script("read -s -p 'Token> ' x", "Token>", True),
    "read of one key": Script("read -n 1 -p 'Sure? ' x", "Sure?"),
    "read -e": Script("read -e -p 'Edit: ' x", "Edit:"),
    "hidden without a telling word": Script("read -s -p 'Say it: ' x", "Say it:", True),
    "select at a terminal": Script("select x in apple pear; do break; done", "#?"),
    "opened by its name": Script("printf 'direct: '; read x < /dev/tty", "direct:"),
    "cat at a terminal": Script("cat"),
    "getpass at a terminal": Script(
        python("import getpass; getpass.getpass('PIN: ')"), "PIN:", True, needs="python3"
    ),
    "input at a terminal": Script(python("input('Age: ')"), "Age:", needs="python3"),
    "curses": Script(
        python(
            "import curses\n"
            "s = curses.initscr(); s.addstr('press a key'); s.refresh(); s.getch()\n"
            "curses.endwin()"
        ),
        "press a key",
        needs="python3",
    ),
    "pager": Script("seq 100 | less", ":", needs="less"),
}

#: Silent ones for which a terminal makes a difference.
SILENT_AT_A_TERMINAL: dict[str, Script] = {
    "sleep at a terminal": Script("printf 'ready: '; sleep 300"),
    "another terminal": Script(
        python("import os, pty\no, i = pty.openpty(); print('ready: ', end=''); os.read(i, 1)")
    ),
    "terminal within the terminal": Script(
        python("import os, pty; print('ready'); pty.spawn(['sleep', '300'])")
    ),
}
