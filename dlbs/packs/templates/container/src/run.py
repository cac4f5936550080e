"""The program in the container: reads JSON lines and writes one JSON line for each."""

import argparse
import json


def predict(instance):
    """Return the output for an input; replace this with your model."""
    return instance["text"][::-1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--input-file", required=True)
    parser.add_argument("--output-file", required=True)
    options = parser.parse_args()
    with open(options.input_file, encoding="utf-8") as lines, open(options.output_file, "w", encoding="utf-8") as out:
        for line in lines:
            out.write(json.dumps({"output": predict(json.loads(line))}) + "\n")


if __name__ == "__main__":
    main()
