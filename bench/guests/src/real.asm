; Guests of 16-bit code: a multiboot ELF that goes down to real mode, does one kernel there and prints what the others print.
;   nasm -f bin -DKERNEL=sieve -DCOUNT=1000 real.asm -o sieve.16.elf; chmod +x sieve.16.elf
; Code runs at 1000:0, data lies at 2000:0 and 3000:0, the stack at 4000:0, so every segment has a base and ends after 64 KiB.
%define BASE 0x100000
%define LOW 0x10000
        bits 32
        org BASE
%defstr NAME KERNEL

image:  db 0x7f, 'ELF', 1, 1, 1
        times 9 db 0
        dw 2, 3
        dd 1, start, phdr - image, 0, 0
        dw 52, 32, 1, 0, 0, 0
phdr:   dd 1, 0, BASE, BASE, end - image, end - image, 7, 4096
        align 4
        dd 0x1badb002, 0, -0x1badb002

start:  cli
        cld
        lgdt [gdtr]
        jmp 8:.here
.here:  mov esi, real
        mov edi, LOW
        mov ecx, end - real
        rep movsb
        mov eax, 0x18
        mov ds, eax
        mov es, eax
        mov ss, eax
        jmp 0x10:0

gdtr:   dw 31
        dd gdt
        align 8
gdt:    dq 0, 0x00cf9a000000ffff, 0x00009a010000ffff, 0x000092000000ffff

        align 16
real:
        bits 16
%define AT(label) (label - real)
        mov eax, cr0
        and al, 0xfe
        mov cr0, eax
        jmp LOW >> 4:AT(.here)
.here:  mov ax, 0x4000
        mov ss, ax
        mov sp, 0xfffe
        mov ax, LOW >> 4
        mov ds, ax
        mov es, ax
        mov dx, 0x3fb           ; 115200 8N1
        mov al, 0x80
        out dx, al
        mov dx, 0x3f8
        mov al, 1
        out dx, al
        inc dx
        mov al, 0
        out dx, al
        mov dx, 0x3fb
        mov al, 3
        out dx, al
        mov si, AT(started)
        call say
        rdtsc
        mov [AT(before)], eax
        mov [AT(before) + 4], edx
        mov ebx, COUNT
        call KERNEL
        mov [cs:AT(result)], eax
        rdtsc
        mov bx, LOW >> 4
        mov ds, bx
        sub eax, [AT(before)]
        sbb edx, [AT(before) + 4]
        push eax
        push edx
        mov si, AT(ended)
        call say
        mov eax, [AT(result)]
        call hex
        mov si, AT(cycles)
        call say
        pop eax
        call hex
        pop eax
        call hex
        mov al, 10
        call put
        rdtsc                   ; lingers, so that a harness can read the process's CPU time
        mov esi, eax
.wait:  rdtsc
        sub eax, esi
        cmp eax, 259999999
        jbe .wait
        mov al, 0x10
        out 0xf4, al
        mov dx, 0x604
        mov ax, 0x2000
        out dx, ax
.stop:  cli
        hlt
        jmp .stop

put:    push dx
        push ax
        mov dx, 0x3fd
.wait:  in al, dx
        test al, 0x20
        jz .wait
        pop ax
        mov dx, 0x3f8
        out dx, al
        pop dx
        ret
say:    lodsb
        test al, al
        jz .done
        call put
        jmp say
.done:  ret
hex:    mov cx, 8
        mov ebx, eax
.digit: rol ebx, 4
        mov al, bl
        and al, 15
        cmp al, 10
        sbb al, 0x69
        das
        or al, 0x20
        call put
        loop .digit
        ret

started: db 'START ', NAME, 10, 0
ended:  db 'END ', NAME, ' ', 0
cycles: db ' tsc ', 0
        align 8
before: dq 0
result: dd 0

; Kernels: EBX times, a checksum in EAX.

; Primes below 60,000, a byte each.
%define PRIMES 60000
        align 16
sieve:  mov ax, 0x2000
        mov ds, ax
        xor edx, edx
.again: xor di, di
.fill:  mov byte [di], 1
        inc di
        cmp di, PRIMES
        jb .fill
        mov si, 2
.next:  cmp byte [si], 0
        je .none
        mov ax, si
        push dx
        mul si
        mov di, ax
        pop dx
.strike: mov byte [di], 0
        add di, si
        jc .none
        cmp di, PRIMES
        jb .strike
.none:  inc si
        cmp si, 245
        jb .next
        mov si, 2
        xor ax, ax
.count: add al, [si]
        adc ah, 0
        inc si
        cmp si, PRIMES
        jb .count
        movzx eax, ax
        add edx, eax
        dec ebx
        jnz .again
        mov eax, edx
        ret

; CRC-16 of pseudo-random words, bit by bit: registers only.
        align 16
crc:    mov ax, 0xffff
        mov si, 12345
.word:  mov dx, si
        shl dx, 7
        xor si, dx
        mov dx, si
        shr dx, 9
        xor si, dx
        mov dx, si
        shl dx, 8
        xor si, dx
        xor ax, si
        mov cx, 16
.bit:   mov dx, ax
        and dx, 1
        neg dx
        and dx, 0xa001
        shr ax, 1
        xor ax, dx
        dec cx
        jnz .bit
        dec ebx
        jnz .word
        movzx eax, ax
        ret

; Fibonacci numbers by near calls, arguments on the stack.
        align 16
fib:    xor edi, edi
.again: push word 16
        call .fib
        add sp, 2
        movzx eax, ax
        add edi, eax
        dec ebx
        jnz .again
        mov eax, edi
        ret
.fib:   push bp
        mov bp, sp
        mov ax, [bp + 4]
        cmp ax, 2
        jb .small
        dec ax
        push ax
        call .fib
        add sp, 2
        push ax
        mov ax, [bp + 4]
        sub ax, 2
        push ax
        call .fib
        add sp, 2
        pop dx
        add ax, dx
.small: pop bp
        ret

; Bytes from one segment to another through LODSB and STOSB, changed on the way; then the sum of both by segment overrides.
        align 16
bytes:  mov ax, 0x2000
        mov ds, ax
        mov ax, 0x3000
        mov es, ax
        xor edx, edx
.again: xor si, si
        xor di, di
        mov cx, 0x4000
.copy:  lodsb
        add al, dl
        xor al, cl
        stosb
        loop .copy
        mov cx, 0x4000
        xor si, si
.sum:   mov al, [es:si]
        add dl, al
        adc dh, 0
        mov [si], dh
        inc si
        dec cx
        jnz .sum
        dec ebx
        jnz .again
        mov eax, edx
        ret
end:
