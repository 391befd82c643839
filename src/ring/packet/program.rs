//! The programs that run in the kernel for each packet of an interface, written from one description of what is ours, so that what is taken
//! and what is dropped can't differ.
//!
//! ```text
//!   card ─▶ tap: `take` ─▶ our ring (one of a group: `choose`)          ours: for this host, untagged or of priority only,
//!        └▶ tcx ingress: `drop` ─▶ gone, counted │ not ours ─▶ IP stack        our address, UDP, a port that is open, no fragment
//! ```
//!
//! A port is open while its entry in a shared array says so: opening one is a write to memory. A first fragment for an open port is taken so
//! that it is counted, and not dropped: fragments stay the stack's.

use std::net::IpAddr;

use super::frame::{EXTENSIONS, FRAGMENT, UDP};
use crate::limits::{IPV6_EXTENSIONS_MAX, PACKET_CAPTURE_BYTES};
use crate::ring::tier::PortSlice;
use crate::sys::bpf::{
    Alu, Assembler, Attach, BpfError, Instruction, Label, Map, MapKind, Program, ProgramKind, Reg, Size, Test,
};

/// Fields of `struct __sk_buff` (linux/bpf.h).
const PACKET_TYPE: i16 = 4;
const PROTOCOL: i16 = 16;
const VLAN_PRESENT: i16 = 20;
const VLAN_TCI: i16 = 24;
/// `enum bpf_func_id`.
const MAP_LOOKUP_ELEM: i32 = 1;
/// `enum tcx_action_base`.
const TCX_NEXT: i32 = -1;
const TCX_DROP: i32 = 2;
/// Where the network header is: a tap without link header starts with it, the ingress hook sees the Ethernet header in front.
const AT_TAP: i32 = 0;
const AT_INGRESS: i32 = 14;

/// What is ours to take: `ports` at their address, while `open` says so.
pub struct Want<'a> {
    /// Address and ports of all shards.
    pub ports: PortSlice,
    /// By the port's index, the shard and one; zero while it is closed.
    pub open: &'a Map,
}

impl Want<'_> {
    /// The array for `open`, which user space can map.
    ///
    /// # Errors
    /// The kernel's.
    pub fn array(ports: PortSlice) -> Result<Map, BpfError> {
        Map::words_of(u32::from(ports.count), "tapehead_open")
    }

    /// Of each core, how many packets `drop` has dropped.
    ///
    /// # Errors
    /// The kernel's.
    pub fn counter() -> Result<Map, BpfError> {
        Map::new(MapKind::PerCpuArray, 4, 8, 1, "tapehead_drops")
    }

    /// The filter of a tap: how many bytes of a packet are kept, none of what is not ours.
    ///
    /// # Errors
    /// The kernel's.
    pub fn take(&self) -> Result<Program, BpfError> {
        let code = self.program(AT_TAP, 0, |asm| asm.set(Reg::R0, PACKET_CAPTURE_BYTES as i32));
        Program::load(ProgramKind::SocketFilter, Attach::Socket, &code, "tapehead_take")
    }

    /// Which member of a group gets a packet: its port's shard.
    ///
    /// # Errors
    /// The kernel's.
    pub fn choose(&self) -> Result<Program, BpfError> {
        let code = self.program(AT_TAP, 0, |asm| {
            asm.copy(Reg::R0, Reg::R7);
            asm.alu(Alu::Subtract, Reg::R0, 1);
        });
        Program::load(ProgramKind::SocketFilter, Attach::Socket, &code, "tapehead_choose")
    }

    /// Drops what is ours at an interface's ingress and counts it in `counter`; everything else goes on to whoever comes next there.
    ///
    /// # Errors
    /// The kernel's.
    pub fn drop(&self, counter: &Map) -> Result<Program, BpfError> {
        let code = self.program(AT_INGRESS, TCX_NEXT, |asm| {
            let drop = asm.label();
            asm.store_value(Size::U32, Reg::R10, -4, 0);
            lookup(asm, counter);
            asm.jump_if_null(Reg::R0, drop);
            // One core's own, and nothing interrupts a softirq with another: no atomic addition is needed.
            asm.load(Size::U64, Reg::R1, Reg::R0, 0);
            asm.alu(Alu::Add, Reg::R1, 1);
            asm.store(Size::U64, Reg::R0, 0, Reg::R1);
            asm.place(drop);
            asm.set(Reg::R0, TCX_DROP);
        });
        Program::load(ProgramKind::SchedCls, Attach::TcxIngress, &code, "tapehead_drop")
    }

    /// Ends with what `ours` leaves in R0, or with `others`. R6 is the packet, R7 what the port's entry holds.
    fn program(&self, network: i32, others: i32, ours: impl FnOnce(&mut Assembler)) -> Vec<Instruction> {
        let mut asm = Assembler::default();
        let not = asm.label();
        asm.copy(Reg::R6, Reg::R1);
        for_this_host(&mut asm, not);
        let family = if self.ports.address.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
        asm.load(Size::U32, Reg::R0, Reg::R6, PROTOCOL);
        asm.jump_if(Reg::R0, Test::Different, u32::from((family as u16).to_be()), not);
        let fragments = if network == AT_INGRESS { Fragments::None } else { Fragments::First };
        match self.ports.address {
            IpAddr::V4(address) => ipv4(&mut asm, network, address.to_bits(), fragments, not),
            IpAddr::V6(address) => ipv6(&mut asm, network, address.octets(), fragments, not),
        }
        // R7 is where the UDP header is.
        asm.load_packet_at(Size::U16, Reg::R7, network + 2);
        asm.alu(Alu::Subtract, Reg::R0, i32::from(self.ports.first));
        asm.jump_if(Reg::R0, Test::AtLeast, u32::from(self.ports.count), not);
        asm.store(Size::U32, Reg::R10, -4, Reg::R0);
        lookup(&mut asm, self.open);
        asm.jump_if_null(Reg::R0, not);
        asm.load(Size::U64, Reg::R7, Reg::R0, 0);
        asm.jump_if(Reg::R7, Test::Equal, 0, not);
        ours(&mut asm);
        asm.exit();
        asm.place(not);
        asm.set(Reg::R0, others);
        asm.exit();
        asm.finish()
    }
}

/// Which fragments pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fragments {
    None,
    /// Those that hold the ports.
    First,
}

/// Addressed to us on the link, and not of another VLAN: tag 0 is a priority (IEEE 802.1Q), any other is its sub-interface's.
fn for_this_host(asm: &mut Assembler, not: Label) {
    let untagged = asm.label();
    asm.load(Size::U32, Reg::R0, Reg::R6, PACKET_TYPE);
    asm.jump_if(Reg::R0, Test::Different, u32::from(libc::PACKET_HOST), not);
    asm.load(Size::U32, Reg::R0, Reg::R6, VLAN_PRESENT);
    asm.jump_if(Reg::R0, Test::Equal, 0, untagged);
    asm.load(Size::U32, Reg::R0, Reg::R6, VLAN_TCI);
    asm.jump_if(Reg::R0, Test::AnyBit, 0x0fff, not);
    asm.place(untagged);
}

/// RFC 791; leaves in R7 how far behind the network header UDP starts. What is read beyond a packet's end ends the program with 0.
fn ipv4(asm: &mut Assembler, network: i32, address: u32, fragments: Fragments, not: Label) {
    asm.load_packet(Size::U8, network + 9);
    asm.jump_if(Reg::R0, Test::Different, u32::from(UDP), not);
    asm.load_packet(Size::U32, network + 16);
    asm.jump_if(Reg::R0, Test::Different, address, not);
    asm.load_packet(Size::U16, network + 6);
    asm.jump_if(Reg::R0, Test::AnyBit, if fragments == Fragments::None { 0x3fff } else { 0x1fff }, not);
    asm.load_packet(Size::U8, network);
    asm.alu(Alu::And, Reg::R0, 15);
    asm.alu(Alu::ShiftLeft, Reg::R0, 2);
    asm.copy(Reg::R7, Reg::R0);
}

/// RFC 8200; the same, behind a bounded chain of extension headers. R8 is the next header.
fn ipv6(asm: &mut Assembler, network: i32, address: [u8; 16], fragments: Fragments, not: Label) {
    let udp = asm.label();
    for (word, bytes) in address.as_chunks::<4>().0.iter().enumerate() {
        asm.load_packet(Size::U32, network + 24 + word as i32 * 4);
        asm.jump_if(Reg::R0, Test::Different, u32::from_be_bytes(*bytes), not);
    }
    asm.load_packet(Size::U8, network + 6);
    asm.copy(Reg::R8, Reg::R0);
    asm.set(Reg::R7, 40);
    for _ in 0..IPV6_EXTENSIONS_MAX {
        let (fragment, options, next) = (asm.label(), asm.label(), asm.label());
        asm.jump_if(Reg::R8, Test::Equal, u32::from(UDP), udp);
        asm.jump_if(Reg::R8, Test::Equal, u32::from(FRAGMENT), fragment);
        EXTENSIONS.iter().for_each(|&kind| asm.jump_if(Reg::R8, Test::Equal, u32::from(kind), options));
        asm.jump(not);
        asm.place(fragment);
        asm.load_packet_at(Size::U16, Reg::R7, network + 2);
        asm.jump_if(Reg::R0, Test::AnyBit, if fragments == Fragments::None { 0xfff9 } else { 0xfff8 }, not);
        asm.set(Reg::R9, 8);
        asm.jump(next);
        asm.place(options);
        asm.load_packet_at(Size::U8, Reg::R7, network + 1);
        asm.copy(Reg::R9, Reg::R0);
        asm.alu(Alu::Add, Reg::R9, 1);
        asm.alu(Alu::ShiftLeft, Reg::R9, 3);
        asm.place(next);
        asm.load_packet_at(Size::U8, Reg::R7, network);
        asm.copy(Reg::R8, Reg::R0);
        asm.alu_register(Alu::Add, Reg::R7, Reg::R9);
    }
    asm.jump_if(Reg::R8, Test::Different, u32::from(UDP), not);
    asm.place(udp);
}

/// Leaves in R0 a pointer to the value whose index is on the stack, or null.
fn lookup(asm: &mut Assembler, map: &Map) {
    asm.map(Reg::R1, map);
    asm.copy(Reg::R2, Reg::R10);
    asm.alu(Alu::Add, Reg::R2, -4);
    asm.call(MAP_LOOKUP_ELEM);
}
