'use strict';
(() => {
  const at = (selector, from = document) => from.querySelector(selector);
  const form = at('form'), list = at('[data-files]'), all = at('[data-all]'), said = at('[role=status]');
  const input = at('input[type=file]');
  const most = Number(form.dataset.max), base = form.dataset.base;
  const url = form.getAttribute('action').replace('output=html', 'output=json');
  const AT_ONCE = 3;
  const waiting = [], items = new Set();
  let running = 0;

  document.body.classList.add('live');
  at('[data-script]').hidden = false;
  at('[data-plain]').hidden = true;
  input.required = false;

  const size = (bytes) => {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
    return `${bytes.toFixed(unit && bytes < 10 ? 1 : 0)} ${units[unit]}`;
  };

  const tell = () => {
    const states = [...items].map((item) => item.state);
    const count = (state) => states.filter((one) => one === state).length;
    const done = count('done'), failed = count('failed'), left = count('waiting') + count('sending');
    const parts = [];
    if (left) parts.push(`${left} to go`);
    parts.push(`${done} uploaded`);
    if (failed) parts.push(`${failed} failed`);
    const text = parts.join(', ');
    if (said.textContent !== text) said.textContent = text;
    all.hidden = items.size === 0;
    at('[data-copy-all]').disabled = done === 0;
  };

  const copy = async (text, button) => {
    let copied = false;
    try {
      await navigator.clipboard.writeText(text);
      copied = true;
    } catch {
      const area = document.createElement('textarea');
      area.value = text;
      document.body.append(area);
      area.select();
      copied = document.execCommand('copy');
      area.remove();
      button.focus();
    }
    const before = button.dataset.says || button.textContent;
    button.dataset.says = before;
    button.textContent = copied ? 'Copied' : 'Not copied';
    clearTimeout(button.timer);
    button.timer = setTimeout(() => { button.textContent = before; }, 2000);
  };

  const show = (item, state, text = '', link = null, remove = null) => {
    item.state = state;
    item.link = link;
    const told = at('.told', item.row), bar = at('progress', item.row), cancel = at('.cancel', item.row);
    told.replaceChildren();
    told.classList.toggle('bad', state === 'failed');
    if (link) {
      const a = document.createElement('a');
      a.href = a.textContent = link;
      a.target = '_blank';
      a.rel = 'noopener';
      told.append(a);
      if (remove) {
        const b = document.createElement('a');
        b.href = remove;
        b.textContent = 'Delete';
        b.target = '_blank';
        b.rel = 'noopener';
        told.append(' · ', b);
      }
    } else {
      told.textContent = text;
    }
    told.hidden = !link && !text;
    bar.hidden = state === 'done' || state === 'failed';
    at('.copy', item.row).hidden = state !== 'done';
    at('.again', item.row).hidden = state !== 'failed' || item.hopeless === true;
    cancel.textContent = state === 'waiting' || state === 'sending' ? 'Cancel' : 'Remove from list';
    tell();
  };

  const send = (item) => {
    running += 1;
    const request = new XMLHttpRequest(), body = new FormData(), bar = at('progress', item.row);
    for (const [name, value] of item.wishes) body.append(name, value);
    body.append('files[]', item.file, item.file.name);
    item.request = request;
    show(item, 'sending');
    request.open('POST', url);
    request.upload.onprogress = (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; };
    request.upload.onload = () => { bar.removeAttribute('value'); };
    const end = (state, ...rest) => {
      running -= 1;
      item.request = null;
      if (items.has(item)) show(item, state, ...rest);
      next();
    };
    request.onload = () => {
      let answer = null;
      try { answer = JSON.parse(request.responseText); } catch { /* Not from the program behind the proxy. */ }
      const file = answer && answer.success && answer.files && answer.files[0];
      if (file) {
        const link = /^https?:/.test(file.url) ? file.url : `${base}/${file.url}`;
        end('done', '', link, file.delete_url);
      } else {
        const text = (answer && (answer.description || answer.error)) || `the server answered ${request.status}`;
        item.hopeless = request.status >= 400 && request.status < 500 && ![408, 429].includes(request.status);
        end('failed', text);
      }
    };
    request.onerror = () => end('failed', 'the connection broke off');
    request.onabort = () => end('failed', 'cancelled');
    request.send(body);
  };

  const next = () => {
    while (running < AT_ONCE && waiting.length) send(waiting.shift());
  };

  const add = (file) => {
    const row = at('template').content.firstElementChild.cloneNode(true);
    const wishes = [...new FormData(form)].filter(([name, value]) => typeof value === 'string' && value !== '');
    const item = { file, row, wishes, state: 'waiting', link: null, request: null };
    at('.name', row).textContent = at('.name', row).title = file.name;
    at('.size', row).textContent = size(file.size);
    at('progress', row).setAttribute('aria-label', `Progress of ${file.name}`);
    for (const [selector, what] of [['.copy', 'Copy link of'], ['.again', 'Try again:'], ['.cancel', 'Cancel or remove']]) {
      at(selector, row).setAttribute('aria-description', `${what} ${file.name}`);
    }
    at('.copy', row).onclick = (event) => copy(item.link, event.currentTarget);
    at('.again', row).onclick = () => { at('progress', row).value = 0; waiting.push(item); show(item, 'waiting'); next(); };
    at('.cancel', row).onclick = () => {
      const place = waiting.indexOf(item);
      if (place >= 0) waiting.splice(place, 1);
      items.delete(item);
      row.remove();
      if (item.request) item.request.abort();
      tell();
    };
    items.add(item);
    list.append(row);
    if (most && file.size > most) {
      item.hopeless = true;
      show(item, 'failed', `larger than ${size(most)}`);
    } else {
      show(item, 'waiting');
      waiting.push(item);
    }
  };

  const take = (files) => { for (const file of files) add(file); next(); };

  input.onchange = () => { take([...input.files]); input.value = ''; };
  form.onsubmit = (event) => { event.preventDefault(); take([...input.files]); input.value = ''; };
  let depth = 0;
  const carries = (event) => event.dataTransfer && [...event.dataTransfer.types].includes('Files');
  const over = (change) => { depth = Math.max(0, depth + change); document.body.classList.toggle('over', depth > 0); };
  document.addEventListener('dragenter', (event) => { if (carries(event)) { event.preventDefault(); over(1); } });
  document.addEventListener('dragover', (event) => { if (carries(event)) event.preventDefault(); });
  document.addEventListener('dragleave', (event) => { if (carries(event)) over(-1); });
  document.addEventListener('drop', (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    depth = 0;
    over(0);
    take([...event.dataTransfer.files]);
  });
  document.addEventListener('paste', (event) => {
    const files = event.clipboardData ? [...event.clipboardData.files] : [];
    const text = event.clipboardData ? event.clipboardData.getData('text/plain') : '';
    if (files.length) {
      event.preventDefault();
      take(files);
    } else if (text) {
      event.preventDefault();
      take([new File([text], 'pasted.txt', { type: 'text/plain' })]);
    }
  });
  at('[data-copy-all]').onclick = (event) => {
    const links = [...items].filter((item) => item.link).map((item) => item.link);
    copy(links.join('\n'), event.currentTarget);
  };
  at('[data-clear]').onclick = () => {
    for (const item of [...items]) at('.cancel', item.row).click();
    input.focus();
  };
  window.addEventListener('beforeunload', (event) => { if (running) event.preventDefault(); });
})();
