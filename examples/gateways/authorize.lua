-- Asks the issuer whether a request may pass, and takes over the headers that say who the caller is.

local URL = 'http://127.0.0.1:8082/api/session/authorize'
local IDENTITY = {
  'x-session-user', 'x-session-id', 'x-session-type', 'x-session-authenticated-at', 'x-session-expires-at',
}
-- Headers of the connection or the body. The issuer gets neither.
local LEFT_OUT = {
  ['connection'] = true, ['content-length'] = true, ['transfer-encoding'] = true, ['upgrade'] = true,
  ['host'] = true, ['expect'] = true, ['te'] = true,
}

local function first(values)
  return values and (values[0] or values[1]) or ''
end

core.register_action('authorize', { 'http-req' }, function(txn)
  local headers = {}
  local given = txn.http:req_get_headers()
  for name, values in pairs(given) do
    if not LEFT_OUT[name] then
      headers[name] = {}
      for _, value in pairs(values) do table.insert(headers[name], value) end
    end
  end
  headers['x-original-method'] = { txn.f:method() }
  headers['x-original-uri'] = { txn.f:pathq() }
  headers['x-forwarded-host'] = { first(given['host']) }

  local answer = core.httpclient():get{ url = URL, headers = headers, timeout = 5000 }
  txn:set_var('txn.status', answer and answer.status or 503)
  if not answer then return end
  txn:set_var('txn.challenge', first(answer.headers['www-authenticate']))
  local nonce = first(answer.headers['dpop-nonce'])
  if nonce ~= '' then txn:set_var('txn.nonce', nonce) end
  if answer.status ~= 204 then return end
  for _, name in ipairs(IDENTITY) do
    txn.http:req_set_header(name, first(answer.headers[name]))
  end
end)
