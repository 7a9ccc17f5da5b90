#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""WordPiece tokens of lower-case BERT models from their vocab.txt.

    wordpiece.py VOCAB.txt [LENGTH]     reads lines, prints their token numbers, padded or cut to LENGTH
"""
import sys
import unicodedata


class WordPiece:
    LONGEST = 100

    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            self.number = {line.rstrip("\n"): i for i, line in enumerate(f)}
        self.pad, self.unknown, self.first, self.last = (self.number[t] for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"))

    @staticmethod
    def is_alone(c):
        """Punctuation (all of ASCII's symbols count) and CJK ideographs are words of their own."""
        code = ord(c)
        if code < 128:
            return not c.isalnum() and not c.isspace()
        return unicodedata.category(c).startswith("P") or 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF

    def words(self, text):
        text = unicodedata.normalize("NFD", text.lower())
        word = ""
        for c in text:
            category = unicodedata.category(c)
            if category == "Mn" or (category.startswith("C") and c not in "\t\n\r"):
                continue
            if c.isspace() or self.is_alone(c):
                if word:
                    yield word
                word = ""
                if not c.isspace():
                    yield c
            else:
                word += c
        if word:
            yield word

    def pieces(self, word):
        """The longest known piece first; a word with an unknown piece is unknown as a whole."""
        if len(word) > self.LONGEST:
            return [self.unknown]
        found, begin = [], 0
        while begin < len(word):
            end = len(word)
            while end > begin and ("##" if begin else "") + word[begin:end] not in self.number:
                end -= 1
            if end == begin:
                return [self.unknown]
            found.append(self.number[("##" if begin else "") + word[begin:end]])
            begin = end
        return found

    def encode(self, text, length):
        """Token numbers and mask, both of the given length."""
        tokens = [p for w in self.words(text) for p in self.pieces(w)][:length - 2]
        tokens = [self.first, *tokens, self.last]
        rest = length - len(tokens)
        return tokens + [self.pad] * rest, [1] * len(tokens) + [0] * rest


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    tokenizer = WordPiece(sys.argv[1])
    length = int(sys.argv[2]) if len(sys.argv) == 3 else 128
    for line in sys.stdin:
        print(*tokenizer.encode(line, length)[0])


if __name__ == "__main__":
    main()
