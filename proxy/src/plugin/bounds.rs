//! What a module may cost to compile: the compiler cannot be interrupted, so what would keep it for
//! minutes, or fill the memory, is refused before. Plugins in any language are far within.

use std::ops::AddAssign;

use wasmparser::{FunctionBody, Operator, Parser, Payload};

/// Most bytes of a module. One in Python has 18 MiB.
pub(super) const MODULE_BYTES: usize = 128 << 20;

/// Most bytes of one function: the compiler's time and memory grow faster than these.
const FUNCTION_BYTES: usize = 1 << 20;

/// Most functions of a module, with those of all modules in it, and most locals of all of them, of
/// which a few bytes may stand for many.
const FUNCTIONS: u64 = 100_000;
const LOCALS: u64 = 4_000_000;

/// Most loops in each other: the compiler's time grows with the square of these.
const LOOPS: usize = 100;

/// Most globals, each of which is code that runs at each instantiation.
const GLOBALS: u64 = 100_000;

/// Why a module is not compiled. It is no judge of what is no module: that the compiler says.
pub(super) fn check(module: &[u8]) -> Result<(), String> {
    if module.len() > MODULE_BYTES {
        return Err(format!("has more than {MODULE_BYTES} bytes"));
    }
    let (mut functions, mut locals, mut globals) = (0, 0, 0);
    for payload in Parser::new(0).parse_all(module) {
        match payload {
            Ok(Payload::FunctionSection(section)) => {
                add(&mut functions, section.count(), FUNCTIONS, "functions")?;
            }
            Ok(Payload::GlobalSection(section)) => {
                add(&mut globals, section.count(), GLOBALS, "globals")?;
            }
            Ok(Payload::CodeSectionEntry(body)) => {
                let bytes = body.range().len();
                if bytes > FUNCTION_BYTES {
                    return Err(format!(
                        "has a function of {bytes} bytes, and may have {FUNCTION_BYTES} in one"
                    ));
                }
                let declared = body.get_locals_reader().into_iter().flatten();
                for (count, _) in declared.flatten() {
                    add(&mut locals, count, LOCALS, "locals")?;
                }
                if nests_more_loops(&body, LOOPS) {
                    return Err(format!("has more than {LOOPS} loops in each other"));
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

fn nests_more_loops(body: &FunctionBody<'_>, most: usize) -> bool {
    // Whether each construct that is open is a loop.
    let mut open: Vec<bool> = Vec::new();
    let mut loops = 0;
    for operator in body.get_operators_reader().into_iter().flatten().flatten() {
        match operator {
            Operator::Loop { .. } => {
                loops += 1;
                open.push(true);
            }
            Operator::Block { .. } | Operator::If { .. } => open.push(false),
            // The last is that of the function.
            Operator::End => loops -= usize::from(open.pop() == Some(true)),
            _ => {}
        }
        if loops > most {
            return true;
        }
    }
    false
}

fn add(sum: &mut u64, more: u32, most: u64, what: &str) -> Result<(), String> {
    sum.add_assign(u64::from(more));
    if *sum > most {
        return Err(format!("has more than {most} {what}"));
    }
    Ok(())
}
