"""A URL of each chat service, as people paste it."""

ROOMS = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "slack, as it shows it": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
    "discord": "https://discord.com/api/webhooks/4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
    "google chat": "https://chat.googleapis.com/v1/spaces/AAAABBBB/messages?key=k-key&token=t-token",
    "telegram": "tgram://123456789:abcdefg_hijklmnop/12315544",
    "webex": "wxteams://Y2lzY29zcGFyazovL3VzL1dFQkhPT0svNzAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw",
    "zulip": "zulip://bot@acme/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general",
    "mattermost": "mmosts://93.184.215.14/3ccdd113474722377935511fc85d3dd4",
    "rocket.chat": "rockets://aaaaaaaaaaaaaaaaaaaaaaaa/bbbbbbbbbbbbbbbbbbbbbbbb@93.184.215.14/#general",
    "teams, as it shows it": "https://93.184.215.14:443/workflows/643e69f83c8943438c97f1c3dde2bcd3/triggers/manual/paths"
    "/invoke?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=iXKeqe0F",
    "teams": "workflows://93.184.215.14/643e69f83c8943438c97f1c3dde2bcd3/iXKeqe0F?verify=no&redirect=yes&retry=9",
}
