"""Answers every request with who it is, as JSON."""

import http.server
import json
import os
import pathlib


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answer = {
            "greeting": os.environ["GREETING"],
            "uid": os.getuid(),
            "directory": os.getcwd(),
            "page": pathlib.Path("page.txt").read_text().strip(),
            "files": sorted(os.listdir(".")),
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
