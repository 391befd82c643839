//! Writing BPF programs: one method per instruction, jumps to labels (RFC 9669).

use super::Map;

/// One instruction (`struct bpf_insn`, RFC 9669 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones (on a little-endian machine).
    registers: u8,
    offset: i16,
    immediate: i32,
}
const _: () = assert!(size_of::<Instruction>() == 8);
const _: () = assert!(cfg!(target_endian = "little"), "the nibbles of `registers` change sides otherwise");

/// Registers: R0 is the result, R1 to R5 are arguments and lost in calls, R6 to R9 survive them, R10 is the frame's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// How much is loaded or stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Size {
    U32 = 0x00,
    U16 = 0x08,
    U8 = 0x10,
    U64 = 0x18,
}

/// Arithmetic of 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Alu {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    Divide = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
}

/// Conditions, unsigned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum Test {
    Equal = 0x10,
    Greater = 0x20,
    AtLeast = 0x30,
    AnyBit = 0x40,
    Different = 0x50,
    Less = 0xa0,
    AtMost = 0xb0,
}

/// Somewhere to jump to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label(usize);

/// Classes (the low three bits of the code) and the bit that says that the source is a register.
const LOAD: u8 = 0x01;
const LOAD_WIDE: u8 = 0x18;
const LOAD_PACKET: u8 = 0x20;
const LOAD_PACKET_AT: u8 = 0x40;
const STORE_IMMEDIATE: u8 = 0x02;
const STORE: u8 = 0x03;
const ALU32: u8 = 0x04;
const JUMP: u8 = 0x05;
const JUMP32: u8 = 0x06;
const ALU64: u8 = 0x07;
const FROM_REGISTER: u8 = 0x08;
const MEMORY: u8 = 0x60;
const ATOMIC: u8 = 0xc0;
const MOVE: u8 = 0xb0;
const BYTE_SWAP: u8 = 0xd0;
/// `BPF_PSEUDO_MAP_FD`: the wide immediate is a map's descriptor.
const MAP_DESCRIPTOR: u8 = 1;

/// A program in the making.
#[derive(Default, Debug)]
pub struct Assembler {
    code: Vec<Instruction>,
    /// Instructions that jump, and where to.
    jumps: Vec<(usize, Label)>,
    places: Vec<Option<usize>>,
}

impl Assembler {
    fn push(&mut self, code: u8, (destination, source): (Reg, Reg), offset: i16, immediate: i32) {
        let registers = destination as u8 | (source as u8) << 4;
        self.code.push(Instruction { code, registers, offset, immediate });
    }

    /// `destination = value`.
    pub fn set(&mut self, destination: Reg, value: i32) {
        self.push(ALU64 | MOVE, (destination, Reg::R0), 0, value);
    }

    /// `destination = source`.
    pub fn copy(&mut self, destination: Reg, source: Reg) {
        self.push(ALU64 | MOVE | FROM_REGISTER, (destination, source), 0, 0);
    }

    /// `destination = destination op value`.
    pub fn alu(&mut self, op: Alu, destination: Reg, value: i32) {
        self.push(ALU64 | op as u8, (destination, Reg::R0), 0, value);
    }

    /// `destination = destination op source`.
    pub fn alu_register(&mut self, op: Alu, destination: Reg, source: Reg) {
        self.push(ALU64 | op as u8 | FROM_REGISTER, (destination, source), 0, 0);
    }

    /// Turns the low `bits` (16, 32 or 64) from network order to ours, or back; the rest becomes zero.
    pub fn network_order(&mut self, destination: Reg, bits: i32) {
        self.push(ALU32 | BYTE_SWAP | FROM_REGISTER, (destination, Reg::R0), 0, bits);
    }

    /// `R0` = bytes of the packet at `offset`, from network order. R6 has to be the packet's context; R1 to R5 are lost. Beyond the packet's end
    /// the program ends with 0. Not for 64 bits.
    pub fn load_packet(&mut self, size: Size, offset: i32) {
        self.push(LOAD_PACKET | size as u8, (Reg::R0, Reg::R0), 0, offset);
    }

    /// The same at `offset` behind where `register` says.
    pub fn load_packet_at(&mut self, size: Size, register: Reg, offset: i32) {
        self.push(LOAD_PACKET_AT | size as u8, (Reg::R0, register), 0, offset);
    }

    /// `destination = *(source + offset)`, the rest of it zero.
    pub fn load(&mut self, size: Size, destination: Reg, source: Reg, offset: i16) {
        self.push(LOAD | MEMORY | size as u8, (destination, source), offset, 0);
    }

    /// `*(destination + offset) = source`.
    pub fn store(&mut self, size: Size, destination: Reg, offset: i16, source: Reg) {
        self.push(STORE | MEMORY | size as u8, (destination, source), offset, 0);
    }

    /// `*(destination + offset) = value`.
    pub fn store_value(&mut self, size: Size, destination: Reg, offset: i16, value: i32) {
        self.push(STORE_IMMEDIATE | MEMORY | size as u8, (destination, Reg::R0), offset, value);
    }

    /// `*(destination + offset) += source`, atomically; 32 or 64 bits.
    pub fn add_atomically(&mut self, size: Size, destination: Reg, offset: i16, source: Reg) {
        self.push(STORE | ATOMIC | size as u8, (destination, source), offset, 0);
    }

    /// `destination` = the map, for a helper.
    pub fn map(&mut self, destination: Reg, map: &Map) {
        let registers = destination as u8 | MAP_DESCRIPTOR << 4;
        self.code.push(Instruction { code: LOAD_WIDE, registers, offset: 0, immediate: map.raw() });
        // The high half of the immediate.
        self.code.push(Instruction { code: 0, registers: 0, offset: 0, immediate: 0 });
    }

    /// Calls a helper of the kernel (`enum bpf_func_id`).
    pub fn call(&mut self, helper: i32) {
        self.push(JUMP | 0x80, (Reg::R0, Reg::R0), 0, helper);
    }

    /// A label, to be placed once.
    pub fn label(&mut self) -> Label {
        self.places.push(None);
        Label(self.places.len() - 1)
    }

    /// The label stands for what comes next.
    pub fn place(&mut self, label: Label) {
        let place = &mut self.places[label.0];
        assert!(place.is_none(), "a label is placed once");
        *place = Some(self.code.len());
    }

    /// Goes on at `to`.
    pub fn jump(&mut self, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP, (Reg::R0, Reg::R0), 0, 0);
    }

    /// Goes on at `to` if the low 32 bits of `register` compare so with `value`.
    pub fn jump_if(&mut self, register: Reg, test: Test, value: u32, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP32 | test as u8, (register, Reg::R0), 0, value as i32);
    }

    /// Goes on at `to` if the 64 bits of `register` compare so with those of `with`: the way to compare pointers.
    pub fn jump_if_register(&mut self, register: Reg, test: Test, with: Reg, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP | test as u8 | FROM_REGISTER, (register, with), 0, 0);
    }

    /// Goes on at `to` if a helper's pointer is null.
    pub fn jump_if_null(&mut self, register: Reg, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.push(JUMP | Test::Equal as u8, (register, Reg::R0), 0, 0);
    }

    /// Ends the program with what R0 holds.
    pub fn exit(&mut self) {
        self.push(JUMP | 0x90, (Reg::R0, Reg::R0), 0, 0);
    }

    /// The program, every jump led to its label.
    pub fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let place = self.places[label.0].expect("every label that is jumped to is placed");
            let offset = place as i64 - at as i64 - 1;
            self.code[at].offset = i16::try_from(offset).expect("programs are short");
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `llvm-mc` and the tables of RFC 9669 have them.
    #[test]
    fn instructions_are_encoded_as_the_standard_says() {
        let mut asm = Assembler::default();
        let end = asm.label();
        asm.set(Reg::R0, -1);
        asm.copy(Reg::R6, Reg::R1);
        asm.alu(Alu::Divide, Reg::R2, 2);
        asm.network_order(Reg::R3, 16);
        asm.load(Size::U32, Reg::R2, Reg::R6, 60);
        asm.store(Size::U32, Reg::R10, -4, Reg::R2);
        asm.add_atomically(Size::U64, Reg::R0, 8, Reg::R1);
        asm.jump_if(Reg::R2, Test::Less, 10_000, end);
        asm.jump_if_null(Reg::R0, end);
        asm.call(1);
        asm.place(end);
        asm.exit();
        let bytes = |code: u8, registers: u8, offset: i16, immediate: i32| Instruction {
            code,
            registers,
            offset,
            immediate,
        };
        let expected = [
            bytes(0xb7, 0x00, 0, -1),
            bytes(0xbf, 0x16, 0, 0),
            bytes(0x37, 0x02, 0, 2),
            bytes(0xdc, 0x03, 0, 16),
            bytes(0x61, 0x62, 60, 0),
            bytes(0x63, 0x2a, -4, 0),
            bytes(0xdb, 0x10, 8, 0),
            bytes(0xa6, 0x02, 2, 10_000),
            bytes(0x15, 0x00, 1, 0),
            bytes(0x85, 0x00, 0, 1),
            bytes(0x95, 0x00, 0, 0),
        ];
        assert_eq!(asm.finish(), expected);
    }

    #[test]
    #[should_panic(expected = "every label that is jumped to is placed")]
    fn a_jump_to_nowhere_is_not_a_program() {
        let mut asm = Assembler::default();
        let nowhere = asm.label();
        asm.jump(nowhere);
        asm.finish();
    }
}
