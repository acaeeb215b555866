// SPDX-License-Identifier: GPL-2.0

//! Values of socket options.

use super::user_copy;
use crate::prelude::Result;
use crate::prelude::EINVAL;

pub(crate) struct OptIn<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) nonblock: bool,
}

impl OptIn<'_> {
    pub(crate) fn len(&self) -> usize {
        self.value.len()
    }

    pub(crate) fn nonblock(&self) -> bool {
        self.nonblock
    }

    pub(crate) fn read(&self, out: &mut [u8]) -> Result {
        user_copy();
        out.copy_from_slice(self.value.get(..out.len()).ok_or(EINVAL)?);
        Ok(())
    }

    pub(crate) fn read_u32(&self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(&mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    pub(crate) fn read_bool(&self) -> Result<bool> {
        Ok(self.read_u32()? != 0)
    }

    pub(crate) fn read_u64(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.read(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    pub(crate) fn pass_on(&self, _level: i32, _name: i32) -> Result {
        Ok(())
    }
}

pub(crate) struct OptOut<'a>(pub(crate) &'a mut Vec<u8>);

impl OptOut<'_> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result {
        user_copy();
        out.copy_from_slice(self.0.get(..out.len()).ok_or(EINVAL)?);
        Ok(())
    }

    pub(crate) fn write(&mut self, value: &[u8]) -> Result {
        user_copy();
        let len = value.len().min(self.0.len());
        *self.0 = value[..len].to_vec();
        Ok(())
    }
}
