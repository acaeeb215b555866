-- SPDX-License-Identifier: GPL-2.0
-- Shows pcapng files of "kbus monitor --pcap" in Wireshark and tshark.
--
-- The package kbus-tools has it where Wireshark looks by itself. Without that, put it into the
-- folder that "Help > About Wireshark > Folders > Personal Lua Plugins" names, or give it for one
-- run: wireshark -X lua_script:kbus.lua FILE
-- (These two do not load it for root.)
--
-- The link type is LINKTYPE_USER0, which is for everybody's own use: if another of your plugins
-- takes it, only one of them can. The layout of a packet is described in
-- tools/kbus/src/capture/mod.rs.

-- Loaded twice, from two of these places, it would be an error of the second one.
if _G.kbus_is_loaded then
	return
end
_G.kbus_is_loaded = true

local kbus = Proto("kbus", "KBUS message")

local kinds = {
	[0] = "announcement",
	[1] = "request",
	[2] = "reply",
	[3] = "status",
	[4] = "lost",
	[5] = "event",
}

local errors = {
	[0] = "none",
	[1] = "gone away: the replier closed before it read the request",
	[2] = "ignored: the replier read the request and gave no reply",
	[3] = "unbound: the replier gave up the name before it read the request",
}

local f = kbus.fields
f.version = ProtoField.uint8("kbus.version", "Version of the layout")
f.kind = ProtoField.uint8("kbus.kind", "Kind", base.DEC, kinds)
f.header_len = ProtoField.uint16("kbus.header_len", "Header length")
f.flags = ProtoField.uint32("kbus.flags", "Flags", base.HEX)
f.flag_request = ProtoField.bool("kbus.flags.request", "A reply is wanted", 32, nil, 0x00000001)
f.flag_urgent = ProtoField.bool("kbus.flags.urgent", "Urgent", 32, nil, 0x00000002)
f.flag_reply = ProtoField.bool("kbus.flags.reply", "Is a reply", 32, nil, 0x00000020)
f.flag_status = ProtoField.bool("kbus.flags.status", "Is a status", 32, nil, 0x00000040)
f.flag_fds = ProtoField.bool("kbus.flags.had_fds", "Was sent with descriptors", 32, nil, 0x00000080)
f.flag_user = ProtoField.uint32("kbus.flags.user", "The sender's own bits", base.HEX, nil, 0xffff0000)
f.id = ProtoField.uint64("kbus.id", "Id", base.HEX)
f.in_reply_to = ProtoField.uint64("kbus.in_reply_to", "Answers request", base.HEX)
f.sender = ProtoField.uint64("kbus.sender", "Sender", base.HEX)
f.to = ProtoField.uint64("kbus.to", "For peer", base.HEX)
f.lost = ProtoField.uint32("kbus.lost", "Missed before it")
f.error = ProtoField.int32("kbus.error", "Why there is no reply", base.DEC, errors)
f.pid = ProtoField.uint32("kbus.pid", "Process of the sender")
f.uid = ProtoField.uint32("kbus.uid", "User of the sender")
f.gid = ProtoField.uint32("kbus.gid", "Group of the sender")
f.len = ProtoField.uint32("kbus.len", "Payload length")
f.name_len = ProtoField.uint16("kbus.name_len", "Name length")
f.name = ProtoField.string("kbus.name", "Name")
f.payload = ProtoField.bytes("kbus.payload", "Payload")
f.text = ProtoField.string("kbus.text", "Payload as text")
-- What is worked out from several packets.
f.request_in = ProtoField.framenum("kbus.request_in", "Request in", base.NONE, frametype.REQUEST)
f.reply_in = ProtoField.framenum("kbus.reply_in", "Reply in", base.NONE, frametype.RESPONSE)
f.time = ProtoField.relative_time("kbus.time", "Time since the request")

local malformed = ProtoExpert.new("kbus.malformed", "Malformed KBUS message",
	expert.group.MALFORMED, expert.severity.ERROR)
local missed = ProtoExpert.new("kbus.missed", "The monitor missed messages here",
	expert.group.SEQUENCE, expert.severity.WARN)
kbus.experts = { malformed, missed }

-- The frames of requests and replies by the request's id, as text: Lua's numbers do not hold 64
-- bits of every id.
local requests, replies = {}, {}

function kbus.init()
	requests, replies = {}, {}
end

local function hex(tvb)
	local digits = tostring(tvb:bytes()):lower():gsub("^0+", "")
	return digits == "" and "0" or digits
end

-- Whether all bytes are printable, so that they can be shown as text.
local function is_text(tvb)
	local text = tvb:raw()
	return not text:find("[^\t\r\n -~\128-\255]")
end

function kbus.dissector(tvb, pinfo, root)
	local size = tvb:reported_length_remaining()
	local tree = root:add(kbus, tvb())
	pinfo.cols.protocol = "KBUS"
	if size < 72 or tvb:captured_len() < size or tvb(0, 1):uint() ~= 1 then
		tree:add_proto_expert_info(malformed)
		return 0
	end
	local header_len = tvb(2, 2):uint()
	local len, name_len = tvb(60, 4):uint(), tvb(64, 2):uint()
	if header_len < 72 or header_len + name_len + len ~= size then
		tree:add_proto_expert_info(malformed)
		return 0
	end

	local kind, id, answers = tvb(1, 1):uint(), hex(tvb(8, 8)), hex(tvb(16, 8))
	local sender, to = hex(tvb(24, 8)), hex(tvb(32, 8))
	tree:add(f.version, tvb(0, 1))
	tree:add(f.kind, tvb(1, 1))
	tree:add(f.header_len, tvb(2, 2))
	local flags = tree:add(f.flags, tvb(4, 4))
	flags:add(f.flag_request, tvb(4, 4))
	flags:add(f.flag_urgent, tvb(4, 4))
	flags:add(f.flag_reply, tvb(4, 4))
	flags:add(f.flag_status, tvb(4, 4))
	flags:add(f.flag_fds, tvb(4, 4))
	flags:add(f.flag_user, tvb(4, 4))
	tree:add(f.id, tvb(8, 8))
	if answers ~= "0" then
		tree:add(f.in_reply_to, tvb(16, 8))
	end
	tree:add(f.sender, tvb(24, 8))
	if to ~= "0" then
		tree:add(f.to, tvb(32, 8))
	end
	local lost = tvb(40, 4):uint()
	local lost_item = tree:add(f.lost, tvb(40, 4))
	if lost > 0 then
		lost_item:add_proto_expert_info(missed)
	end
	if kind == 3 then
		tree:add(f.error, tvb(44, 4))
	end
	if tvb(52, 4):uint() ~= 0xffffffff then
		tree:add(f.pid, tvb(48, 4))
		tree:add(f.uid, tvb(52, 4))
		tree:add(f.gid, tvb(56, 4))
	end
	tree:add(f.len, tvb(60, 4))
	tree:add(f.name_len, tvb(64, 2))
	local name = ""
	if name_len > 0 then
		name = tvb(header_len, name_len):string()
		tree:add(f.name, tvb(header_len, name_len))
	end
	if len > 0 then
		local payload = tvb(header_len + name_len, len)
		tree:add(f.payload, payload)
		if is_text(payload) then
			tree:add(f.text, payload)
		end
	end

	-- Joins each reply to its request.
	if kind == 1 and not requests[id] then
		requests[id] = { frame = pinfo.number, time = pinfo.rel_ts }
	elseif kind == 2 and not replies[answers] then
		replies[answers] = pinfo.number
	end
	local took = ""
	if kind == 1 and replies[id] then
		tree:add(f.reply_in, replies[id]):set_generated()
	elseif (kind == 2 or kind == 3) and requests[answers] then
		local request = requests[answers]
		tree:add(f.request_in, request.frame):set_generated()
		local seconds = pinfo.rel_ts - request.time
		local whole = math.floor(seconds)
		local rest = math.floor((seconds - whole) * 1e9 + 0.5)
		tree:add(f.time, NSTime.new(whole, rest)):set_generated()
		took = string.format(" after %.3f ms", seconds * 1000)
	end

	pinfo.cols.src = sender
	pinfo.cols.dst = to ~= "0" and to or "*"
	local info = string.format("%s %s #%s", kinds[kind] or "unknown", name, id)
	if answers ~= "0" then
		info = info .. " to #" .. answers .. took
	end
	if lost > 0 then
		info = string.format("%s (%d missed)", info, lost)
	end
	pinfo.cols.info = info .. string.format(" len=%d", len)
	tree:append_text(", " .. info)
	return size
end

DissectorTable.get("wtap_encap"):add(wtap.USER0, kbus)
