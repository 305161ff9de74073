#!/usr/bin/env python3
"""Looks at a page in headless Chromium, as it is told line by line on standard input, and answers each line with "ok".

    open URL              goes there
    see TEXT              waits until the page shows the text
    gone TEXT             waits until it does not any more
    run EXPRESSION        evaluates JavaScript, which must be true
    size WIDTH HEIGHT     of the window
    dark | light          what the system prefers
    shot PATH             writes a screenshot

It ends with an error when a line fails, and when the page has logged an error by the end. Chromium is driven by its DevTools protocol
over two pipes (https://chromedevtools.github.io/devtools-protocol/).
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

PATIENCE = 30


class Browser:
    def __init__(self, folder):
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        if program is None:
            sys.exit("Chromium is not installed: apt-get install chromium")
        # Chromium reads at descriptor 3 and writes at descriptor 4.
        to_read, self.to_browser = os.pipe()
        from_browser, to_write = os.pipe()
        flags = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
        flags += ["--no-sandbox", "--disable-dev-shm-usage", f"--user-data-dir={folder}", "about:blank"]
        shell = f"exec 3<&{to_read} 4>&{to_write}; exec \"$@\""
        self.process = subprocess.Popen(
            ["bash", "-c", shell, "bash", program, *flags],
            pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(to_write)
        self.input = os.fdopen(from_browser, "rb")
        self.number = 0
        self.buffer = b""
        self.errors = []
        self.session = None
        page = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.buffer:
            read = self.input.read1(65536)
            if not read:
                sys.exit("Chromium has ended")
            self.buffer += read
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to_browser, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.note(answer)

    def note(self, event):
        details = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            thrown = details["exceptionDetails"]
            self.errors.append(thrown.get("exception", {}).get("description", thrown["text"]))
        if event.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.errors.append(details["entry"]["text"])
        if event.get("method") == "Runtime.consoleAPICalled" and details["type"] in ("error", "assert"):
            self.errors.append(str(details["args"]))

    def evaluate(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            sys.exit(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def until(self, expression, what):
        end = time.monotonic() + PATIENCE
        while not self.evaluate(expression):
            if time.monotonic() > end:
                sys.exit(f"not in {PATIENCE} s: {what}\n{self.evaluate('document.body?.innerText')}\n{self.errors}")
            time.sleep(0.05)

    def obey(self, line):
        verb, _, rest = line.partition(" ")
        # Between two pages there is no body.
        texts = "[document.body?.innerText ?? '', ...[...document.querySelectorAll('svg text')].map(t => t.textContent)]"
        shown = f"{texts}.some(text => text.includes({json.dumps(rest)}))"
        if verb == "open":
            self.call("Page.navigate", url=rest)
        elif verb == "see":
            self.until(shown, line)
        elif verb == "gone":
            self.until(f"!({shown})", line)
        elif verb == "run":
            if self.evaluate(rest) is not True:
                sys.exit(f"not true: {rest}")
        elif verb == "size":
            width, height = map(int, rest.split())
            self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        elif verb in ("dark", "light"):
            self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": verb}])
        elif verb == "shot":
            image = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
            with open(rest, "wb") as file:
                file.write(image)
        else:
            sys.exit(f"not understood: {line}")


def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(folder)
        try:
            for line in sys.stdin:
                browser.obey(line.rstrip("\n"))
                print("ok", flush=True)
            if browser.errors:
                sys.exit("the page has logged errors:\n" + "\n".join(browser.errors))
        finally:
            browser.process.terminate()
            browser.process.wait()


if __name__ == "__main__":
    main()
