; System instructions and exceptions in 64-bit and compatibility mode: what a processor makes of each case.
;   nasm -f bin -o system64.bin system64.asm
;   qemu-system-x86_64 -kernel system64.bin -cpu max -display none -serial file:system64.txt -device isa-debug-exit,iobase=0xf4,iosize=4
%include "runner.inc"
        section .table
case_table:

%define STUB      16            ; bytes of an interrupt stub
%define PAGE_NP   0x400000      ; not present
%define PAGE_RO   0x401000      ; user, read-only
%define PAGE_SUP  0x402000      ; supervisor, writable
%define PAGE_NX   0x403000      ; user, writable, not executable
%define PAGE_OK   0x404000      ; user, writable; the next one is not present
%define PAGE_NP2  0x405000
%define PAGE_RSV  0x406000      ; reserved bits set
%define R0        0             ; ring 0, 64-bit
%define R3        3             ; ring 3, 64-bit
%define C0        4             ; ring 0, compatibility mode
%define C3        7             ; ring 3, compatibility mode

        section .text
entry:  cli
        mov     esp, kernel_stack
        mov     al, 0xff
        out     0x21, al
        out     0xa1, al
        mov     esi, gdt_pristine
        mov     edi, gdt
        mov     ecx, (gdt_pristine_end - gdt_pristine) / 4
        rep movsd
        lgdt    [gdtr]
        ; page tables: identity for 8 MiB with 4 KiB pages, user and writable, but for the special pages
        mov     edi, pml4
        xor     eax, eax
        mov     ecx, 5 * 1024
        rep stosd
        mov     dword [pml4], pdpt + 7
        mov     dword [pml4 + 0xf80], pdpt + 7          ; and at 0xfffff80000000000
        mov     dword [pdpt], directory + 7
        mov     dword [directory + 0], table0 + 7
        mov     dword [directory + 8], table1 + 7
        mov     dword [directory + 16], table2 + 7
        mov     edi, table0
        mov     eax, 7
        mov     ecx, 3 * 512
.fill:  mov     [edi], eax
        mov     dword [edi + 4], 0
        add     edi, 8
        add     eax, 0x1000
        loop    .fill
        mov     dword [table2 + 0], 0
        mov     dword [table2 + 8], PAGE_RO + 5
        mov     dword [table2 + 16], PAGE_SUP + 3
        mov     dword [table2 + 24 + 4], 0x80000000
        mov     dword [table2 + 40], 0
        mov     dword [table2 + 48 + 4], 0x000fc000
        mov     eax, cr4
        or      eax, 0x620              ; PAE, OSFXSR, OSXMMEXCPT
        mov     cr4, eax
        mov     eax, pml4
        mov     cr3, eax
        mov     ecx, 0xc0000080
        rdmsr
        or      eax, 0x901              ; SCE, LME, NXE
        wrmsr
        mov     eax, 0x80010031
        mov     cr0, eax
        jmp     0x08:start64

        bits    64
start64:
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     rdi, idt
        mov     rsi, stubs
        mov     ecx, 256
.gates: mov     rax, rsi
        mov     [rdi], ax
        mov     word [rdi + 2], 0x08
        mov     word [rdi + 4], 0x8e00
        shr     rax, 16
        mov     [rdi + 6], ax
        mov     dword [rdi + 8], 0
        mov     dword [rdi + 12], 0
        add     rdi, 16
        add     rsi, STUB
        loop    .gates
        mov     byte [idt + 3 * 16 + 5], 0xee
        mov     byte [idt + 4 * 16 + 5], 0xee
        mov     byte [idt + 8 * 16 + 4], 2               ; double fault on its own stack
        mov     byte [idt + 0x80 * 16 + 5], 0xee
        mov     byte [idt + 0x81 * 16 + 5], 0xef
        mov     byte [idt + 0x82 * 16 + 5], 0x6e         ; absent
        mov     byte [idt + 0x83 * 16 + 5], 0xee
        mov     byte [idt + 0x83 * 16 + 4], 1            ; IST 1
        mov     byte [idt + 0x84 * 16 + 5], 0xee
        mov     word [idt + 0x84 * 16 + 2], 0x10         ; not code
        mov     byte [idt + 0x85 * 16 + 5], 0xe6         ; a 16-bit gate
        mov     byte [idt + 0x86 * 16 + 5], 0xee
        mov     word [idt + 0x86 * 16 + 2], 0x40         ; 32-bit code
        mov     byte [idt + 0x87 * 16 + 5], 0xee
        mov     word [idt + 0x87 * 16 + 2], 0x23         ; ring 3 code
        mov     byte [idt + 0x88 * 16 + 5], 0xee
        mov     word [idt + 0x88 * 16 + 2], 0
        mov     byte [idt + 0x89 * 16 + 5], 0xee
        mov     dword [idt + 0x89 * 16 + 8], 0x00008000  ; not canonical
        mov     byte [idt + 0x8a * 16 + 5], 0xee
        mov     byte [idt + 0x8a * 16 + 4], 3            ; IST 3 is not canonical
        mov     byte [idt + 0x8b * 16 + 5], 0xee
        mov     byte [idt + 0x8b * 16 + 4], 4            ; IST 4 is not mapped
        lidt    [idtr]
%macro BASE 2
        mov     eax, %2
        mov     [%1 + 2], ax
        shr     eax, 16
        mov     [%1 + 4], al
        mov     [%1 + 7], ah
%endmacro
        BASE    tss_d, tss
        BASE    ldt_d, ldt
        mov     eax, gate_target
        mov     [gate_d], ax
        mov     [gate2_d], ax
        mov     [gate3_d], ax
        shr     eax, 16
        mov     [gate_d + 6], ax
        mov     [gate2_d + 6], ax
        mov     [gate3_d + 6], ax
        mov     qword [next_case], case_table

; ---------------------------------------------------------------- the loop
run_next:
        mov     rsp, kernel_stack
        mov     rbx, [next_case]
        cmp     rbx, case_table_end
        jae     finish
        mov     ax, 0x10
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     rsi, gdt_pristine
        mov     rdi, gdt
        mov     ecx, (gdt_pristine_end - gdt_pristine) / 4
        rep movsd
        lgdt    [gdtr]
        lidt    [idtr]
        mov     rsi, tss_pristine
        mov     rdi, tss
        mov     ecx, 28
        rep movsd
        mov     eax, 0x80010031
        mov     cr0, rax
        mov     eax, 0x620
        mov     cr4, rax
        xor     eax, eax
        mov     cr2, rax
        mov     cr8, rax
        mov     dr7, rax
        lldt    ax
        mov     fs, ax
        mov     gs, ax
        mov     ax, 0x28
        ltr     ax
        xor     edx, edx
        mov     ecx, 0xc0000080
        mov     eax, 0xd01
        wrmsr
        mov     ecx, 0xc0000081
        mov     edx, 0x00130008         ; SYSRET to 0x23 and 0x1b, SYSCALL to 0x08 and 0x10
        xor     eax, eax
        wrmsr
        inc     ecx
        xor     edx, edx
        mov     eax, syscall_target
        wrmsr
        mov     ecx, 0xc0000084
        mov     eax, 0x4700
        wrmsr
        mov     ecx, 0xc0000102
        mov     edx, 0xffff8000
        mov     eax, 0x12345678
        wrmsr
        mov     rdi, user_stack - 128
        mov     ecx, 32
        mov     rax, 0x5555aaaa5555aaaa
        rep stosq
        mov     rdi, scratch
        mov     ecx, 64
        xor     eax, eax
.pat:   mov     [rdi], eax
        add     rdi, 4
        add     eax, 0x01010101
        loop    .pat
        mov     eax, [rbx + 12]
        mov     ecx, eax
        and     ecx, 3
        mov     edx, 0x10
        mov     ebp, 0x08
        jz      .ring0
        mov     edx, 0x1b
        mov     ebp, 0x23
        mov     ds, dx
        mov     es, dx
.ring0: test    eax, 4
        jz      .wide
        mov     ebp, 0x40
        test    ecx, ecx
        jz      .wide
        mov     ebp, 0x6b
.wide:  push    rdx
        push    qword user_stack
        push    qword 0x202
        push    rbp
        mov     eax, [rbx + 4]
        push    rax
        mov     eax, 0x11111111
        mov     ecx, 0x22222222
        mov     edx, 0x33333333
        mov     ebx, 0x44444444
        mov     ebp, 0x55555555
        mov     esi, scratch
        mov     edi, scratch + 64
        mov     r8d, 0x88888888
        mov     r9d, 0x99999999
        mov     r11d, 0xbbbbbbbb
        iretq

finish: mov     rsi, done
        call    print
        mov     dx, EXIT
        mov     al, 0
        out     dx, al
.stop:  hlt
        jmp     .stop

%macro RECORD 1
        mov     rax, [rbp + %1]
%endmacro
        align   16
stubs:
%assign v 0
%rep 256
        align   16
  %if v = 8 || (v >= 10 && v <= 14) || v = 17
        push    strict dword v
  %else
        push    strict dword 0x0bad
        push    strict dword v
  %endif
        jmp     strict near recorded
%assign v v + 1
%endrep

; rbp: r11 r9 r8 di si bp bx dx cx ax | vector error rip cs rflags rsp ss
recorded:
        push    rax
        push    rcx
        push    rdx
        push    rbx
        push    rbp
        push    rsi
        push    rdi
        push    r8
        push    r9
        push    r11
        cld
        mov     rbp, rsp
        mov     rbx, [next_case]
        mov     esi, [rbx]
        call    print
        mov     rax, [rbp + 80]
        mov     rsi, t_vector
        call    field
        mov     rax, [rbp + 88]
        cmp     rax, 0x0bad
        je      .noerr
        mov     rsi, t_error
        call    field
.noerr: mov     rax, [rbp + 96]
        mov     ecx, [rbx + 4]
        sub     rax, rcx
        mov     rsi, t_eip
        call    field
        mov     rax, [rbp + 104]
        mov     rsi, t_cs
        call    field
        mov     rax, [rbp + 112]
        mov     rsi, t_flags
        call    field
        mov     rax, [rbp + 120]
        mov     rcx, user_stack
        sub     rax, rcx
        mov     rsi, t_esp
        call    field
        mov     rax, [rbp + 128]
        mov     rsi, t_ss
        call    field
        lea     rax, [rbp + 136]
        mov     rcx, user_stack
        mov     rdx, kernel_stack
        cmp     rax, rdx
        je      .usual                  ; came through the TSS
        sub     rax, rcx
        mov     rsi, t_frame
        call    field
.usual: mov     ax, ss
        movzx   eax, ax
        mov     edx, 0x10
        mov     rsi, t_hss
        call    changed
%macro SHOW 3
        mov     rax, [rbp + %1]
        mov     edx, %2
        mov     rsi, %3
        call    changed
%endmacro
        SHOW    72, 0x11111111, t_eax
        SHOW    64, 0x22222222, t_ecx
        SHOW    56, 0x33333333, t_edx
        SHOW    48, 0x44444444, t_ebx
        SHOW    40, 0x55555555, t_ebp
        SHOW    32, scratch, t_esi
        SHOW    24, scratch + 64, t_edi
        SHOW    16, 0x88888888, t_r8
        SHOW    8, 0x99999999, t_r9
        SHOW    0, 0xbbbbbbbb, t_r11
        mov     ax, ds
        movzx   eax, ax
        mov     rsi, t_ds
        call    field
        mov     ax, es
        movzx   eax, ax
        mov     rsi, t_es
        call    field
        mov     ax, fs
        movzx   eax, ax
        xor     edx, edx
        mov     rsi, t_fs
        call    changed
        mov     ax, gs
        movzx   eax, ax
        xor     edx, edx
        mov     rsi, t_gs
        call    changed
        mov     rax, cr2
        xor     edx, edx
        mov     rsi, t_cr2
        call    changed
        mov     rax, cr0
        mov     edx, 0x80010031
        mov     rsi, t_cr0
        call    changed
        str     ax
        movzx   eax, ax
        mov     edx, 0x28
        mov     rsi, t_tr
        call    changed
        mov     rcx, user_stack - 8
.stack: mov     rax, [rcx]
        mov     rdx, 0x5555aaaa5555aaaa
        mov     rsi, t_stack
        test    byte [rbp + 104], 3
        jz      .inner
        call    changed
.inner: sub     rcx, 8
        cmp     rcx, user_stack - 56
        ja      .stack
        mov     rcx, scratch
        xor     edx, edx
.mem:   mov     eax, [rcx]
        cmp     eax, edx
        je      .same
        push    rax
        mov     rax, rcx
        sub     rax, scratch
        mov     rsi, t_mem
        call    field
        pop     rax
        mov     rsi, t_is
        call    field
.same:  add     rcx, 4
        add     edx, 0x01010101
        cmp     rcx, scratch + 128
        jb      .mem
        mov     al, 10
        call    putc
        add     qword [next_case], 16
        jmp     run_next

field:  push    rax
        call    print
        pop     rax
        push    rcx
        mov     ecx, 16
.skip:  rol     rax, 4
        test    al, 15
        jnz     .digit
        loop    .skip
        inc     ecx
.digit: push    rax
        and     al, 15
        cmp     al, 10
        jb      .dec
        add     al, 'a' - '0' - 10
.dec:   add     al, '0'
        call    putc
        pop     rax
        rol     rax, 4
        loop    .digit
        pop     rcx
        ret
changed:
        cmp     rax, rdx
        jne     field
        ret
print:  lodsb
        test    al, al
        jz      .done
        call    putc
        jmp     print
.done:  ret
putc:   push    rdx
        mov     dx, COM1
        out     dx, al
        pop     rdx
        ret

gate_target:
        mov     eax, 0x6a7e
        int     0x80
syscall_target:
        mov     eax, 0x5ca1
        int     0x80

%include "cases64.inc"

        section .table
case_table_end:
        section .names
done:   db      'done', 10, 0
t_vector: db    ' v', 0
t_error: db     ' e', 0
t_eip:  db      ' ip', 0
t_cs:   db      ' cs', 0
t_flags: db     ' fl', 0
t_esp:  db      ' sp', 0
t_ss:   db      ' ss', 0
t_frame: db     ' frame', 0
t_hss:  db      ' hss', 0
t_eax:  db      ' ax', 0
t_ecx:  db      ' cx', 0
t_edx:  db      ' dx', 0
t_ebx:  db      ' bx', 0
t_ebp:  db      ' bp', 0
t_esi:  db      ' si', 0
t_edi:  db      ' di', 0
t_r8:   db      ' r8=', 0
t_r9:   db      ' r9=', 0
t_r11:  db      ' r11=', 0
t_ds:   db      ' ds', 0
t_es:   db      ' es', 0
t_fs:   db      ' fs', 0
t_gs:   db      ' gs', 0
t_cr2:  db      ' cr2=', 0
t_cr0:  db      ' cr0=', 0
t_tr:   db      ' tr', 0
t_stack: db     ' st', 0
t_mem:  db      ' m', 0
t_is:   db      '=', 0
        align   4
gdtr:   dw      0xb7
        dq      gdt
        align   4
idtr:   dw      256 * 16 - 1
        dq      idt
        section .data
gdt:    times 0xb8 db 0
        align   16
idt:    times 256 * 16 db 0
tss:    times 112 db 0
        align   8
gdt_pristine:
        dq      0
        dq      0x00af9b000000ffff      ; 08 ring 0 code, 64-bit
        dq      0x00cf93000000ffff      ; 10 ring 0 data
        dq      0x00cff3000000ffff      ; 18 ring 3 data
        dq      0x00affb000000ffff      ; 20 ring 3 code, 64-bit
tss_d:  dq      0x0000890000000067, 0   ; 28 TSS
        dq      0x00af9f000000ffff      ; 38 conforming code, 64-bit
        dq      0x00cf9b000000ffff      ; 40 ring 0 code, 32-bit
gate_d: dw      0, 0x08, 0xec00, 0      ; 48 call gate
        dq      0
gate2_d: dw     0, 0x40, 0xec00, 0      ; 58 call gate to 32-bit code
        dq      0
        dq      0x00cffb000000ffff      ; 68 ring 3 code, 32-bit
        dq      0x00ef9b000000ffff      ; 70 code with both L and D
        dq      0x00af1b000000ffff      ; 78 absent code
gate3_d: dw     0, 0x08, 0xec00, 0      ; 80 call gate with a type in its upper half
        dq      0x0000010000000000
ldt_d:  dq      0x000082000000001f, 0   ; 90 LDT
        dq      0x00cf13000000ffff      ; a0 absent data
        dq      0x0040f30000000fff      ; a8 small data, DPL 3
        dq      0x00cff1000000ffff      ; b0 read-only data, DPL 3
gdt_pristine_end:
tss_pristine:
        dd      0
        dq      kernel_stack, 0, 0, 0
        dq      ist_stack, double_stack, 0x900000000000, PAGE_NP + 0x1000, 0, 0, 0
        dq      0
        dw      0, 0x68
        dd      0, 0
ldt:    dq      0x00cff3000000ffff, 0x00affb000000ffff, 0, 0
next_case: dq   0
        times 16 db 0
image_end:
        section .bss
        resb    4096
scratch: resb   4096
        resb    8192
user_stack: resb 4096
        resb    8192
kernel_stack: resb 4096
        resb    4096
ist_stack: resb 4096
        resb    4096
double_stack: resb 4096
        alignb  4096
pml4:   resb    4096
pdpt:   resb    4096
directory: resb 4096
        resb    4096
        resb    4096
table0: resb    4096
table1: resb    4096
table2: resb    4096
bss_end:
