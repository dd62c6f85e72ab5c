"""Puts the calls of test/golden/process-cases.json to the Linux it runs on and writes its answers back. Needs gcc.

    python3 test/recorder/process-calls.py
"""
import json
import pathlib
import subprocess
import tempfile

here = pathlib.Path(__file__).parent
golden = here.parent / 'golden' / 'process-cases.json'
cases = json.loads(golden.read_text())
lines = []
for case in cases:
    lines += [f'poke {offset} {word}' for offset, word in case.get('poke', [])]
    lines.append(' '.join([case['name'], str(case['nr']), *case['args']]))
with tempfile.TemporaryDirectory() as folder:
    subprocess.run(['gcc', '-O1', '-o', f'{folder}/ask', here / 'process-calls.c'], check=True)
    said = subprocess.run([f'{folder}/ask'], input='\n'.join(lines) + '\n', capture_output=True, text=True, check=True).stdout
answers = dict(line.rsplit(' ', 1) for line in said.splitlines())
for case in cases:
    case['answer'] = int(answers[case['name']])
golden.write_text('[\n' + ',\n'.join(json.dumps(case) for case in cases) + '\n]\n')
